package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.CancelledException;
import dev.larder.client.Codec;
import dev.larder.client.Codecs;
import dev.larder.client.EncodeException;
import dev.larder.client.FetchOptions;
import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.Namespace;
import dev.larder.client.Preset;
import dev.larder.client.Result;
import dev.larder.client.Tier;
import dev.larder.client.Token;
import dev.larder.client.TypeOf;
import dev.larder.client.WriteOptions;
import dev.larder.testing.LarderServer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Types and threads of Java, which the conformance cases do not have. */
class CallsTest {
  private static LarderServer server;
  private static LarderClient client;

  /** A value of the program. */
  record User(String name, int age, Instant since, Optional<String> team) {}

  @BeforeAll
  static void start() throws IOException {
    server = LarderServer.start();
    client = LarderClient.builder().target(server.target()).preset(Preset.LOCAL).build();
  }

  @AfterAll
  static void stop() {
    client.close();
    server.close();
  }

  private static void await(BooleanSupplier condition) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() < deadline, "it does not come");
      Thread.sleep(5);
    }
  }

  private static <V> Namespace<V> fresh(String name, Class<V> type) {
    return client.namespace(name + System.nanoTime(), type);
  }

  @Test
  void recordsAndGenericTypesAreRead() {
    Instant now = Instant.parse("2026-11-29T10:00:00Z");
    record Plain(String name, Instant since) {}
    Namespace<Plain> users = fresh("records-", Plain.class);
    users.set("1", new Plain("Ada", now));
    assertEquals(new Plain("Ada", now), users.get("1").value());
    Namespace<Map<String, List<Integer>>> lists =
        client.namespace("generic", new TypeOf<>() {}, NamespaceOptions.DEFAULTS);
    lists.set("k", Map.of("a", List.of(1, 2)));
    assertEquals(List.of(1, 2), lists.get("k").value().get("a"));
  }

  @Test
  void aCounterIsANumberOfAHandleOfNumbers() {
    Namespace<Long> counters = fresh("numbers-", Long.class);
    counters.increment("n", 41);
    assertEquals(42, counters.increment("n", 1).value());
    assertEquals(42L, counters.get("n").value());
  }

  @Test
  void aValueOfAnotherTypeIsAMissWithTheError() {
    Namespace<Object> any = fresh("typed-", Object.class);
    any.set("k", List.of(1));
    Result<User> read = any.as(User.class).get("k");
    assertFalse(read.found());
    assertTrue(read.error().isPresent());
    assertEquals(1, client.counters().get(any.wireName()).get("undecodable"));
  }

  @Test
  void whatJsonWouldChangeIsRefusedWithItsPlace() {
    Namespace<Object> any = fresh("refused-", Object.class);
    EncodeException error =
        assertThrows(
            EncodeException.class,
            () -> any.set("k", Map.of("a", List.of(1, Double.NaN))));
    assertEquals("value.a[1]", error.path());
    for (Object array :
        new Object[] {new double[] {1, Double.NaN}, new float[] {1, Float.POSITIVE_INFINITY}}) {
      error = assertThrows(EncodeException.class, () -> any.set("k", Map.of("a", array)));
      assertEquals("value.a[1]", error.path());
    }
    any.set("arrays", List.of(new double[] {1.5}, new float[] {2.5f}, new double[0]));
    assertEquals(List.of(List.of(1.5), List.of(2.5), List.of()), any.get("arrays").value());
    assertThrows(EncodeException.class, () -> any.set("k", Map.of("photo", new byte[1])));
    List<Object> cycle = new ArrayList<>();
    cycle.add(cycle);
    assertThrows(EncodeException.class, () -> any.set("k", cycle));
  }

  @Test
  void serializedValuesAreSigned() {
    byte[] secret = "sixteen bytes at least".getBytes(StandardCharsets.UTF_8);
    Codec<ArrayList<?>> codec = codec(secret);
    Namespace<ArrayList<?>> lists =
        client.namespace("serialized", codec, NamespaceOptions.DEFAULTS);
    lists.set("k", new ArrayList<>(List.of(1, "two")));
    assertEquals(List.of(1, "two"), lists.get("k").value());
    byte[] other = "another secret of bytes".getBytes(StandardCharsets.UTF_8);
    assertFalse(lists.as(codec(other)).get("k").found());
    assertThrows(IllegalArgumentException.class, () -> codec(new byte[3]));
  }

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static Codec<ArrayList<?>> codec(byte[] secret) {
    return (Codec) Codecs.serialized(secret, ArrayList.class);
  }

  @Test
  void aLoaderRunsInTheThreadOfItsCaller() {
    Namespace<String> names = fresh("threads-", String.class);
    AtomicReference<Thread> ran = new AtomicReference<>();
    Result<String> result =
        names.getOrFetch(
            "k",
            context -> {
              ran.set(Thread.currentThread());
              return "value";
            });
    assertSame(Thread.currentThread(), ran.get());
    assertEquals(Tier.LOADER, result.tier().orElseThrow());
  }

  @Test
  void aCheckedExceptionOfTheLoaderIsThrownAsItIs() {
    Namespace<String> names = fresh("checked-", String.class);
    IOException failure = new IOException("out of coffee");
    IOException thrown =
        assertThrows(
            IOException.class,
            () ->
                names.getOrFetch(
                    "k",
                    context -> {
                      throw failure;
                    }));
    assertSame(failure, thrown);
  }

  @Test
  void anInterruptedLoaderHandsOverToThoseThatJoined() throws Exception {
    Namespace<String> names = fresh("handover-", String.class);
    CountDownLatch loading = new CountDownLatch(1);
    AtomicReference<Throwable> thrown = new AtomicReference<>();
    Thread first =
        new Thread(
            () -> {
              try {
                names.getOrFetch(
                    "k",
                    context -> {
                      loading.countDown();
                      Thread.sleep(60_000);
                      return "never";
                    });
              } catch (InterruptedException error) {
                thrown.set(error);
              }
            });
    first.start();
    assertTrue(loading.await(10, TimeUnit.SECONDS));
    CompletableFuture<Result<String>> second =
        CompletableFuture.supplyAsync(() -> names.getOrFetch("k", context -> "mine"));
    Thread.sleep(50);
    first.interrupt();
    assertEquals("mine", second.get(10, TimeUnit.SECONDS).value());
    first.join();
    assertInstanceOf(InterruptedException.class, thrown.get());
    assertEquals("mine", names.get("k").value());
  }

  @Test
  void anInterruptedWaitLeavesTheComputation() throws Exception {
    Namespace<String> names = fresh("waiting-", String.class);
    CountDownLatch loading = new CountDownLatch(1);
    CountDownLatch gate = new CountDownLatch(1);
    CompletableFuture<Result<String>> first =
        names
            .async()
            .getOrFetch(
                "k",
                context ->
                    CompletableFuture.supplyAsync(
                        () -> {
                          loading.countDown();
                          try {
                            gate.await();
                          } catch (InterruptedException error) {
                            throw new IllegalStateException(error);
                          }
                          return "first";
                        }));
    assertTrue(loading.await(10, TimeUnit.SECONDS));
    AtomicReference<Throwable> thrown = new AtomicReference<>();
    AtomicReference<Boolean> interrupted = new AtomicReference<>();
    Thread second =
        new Thread(
            () -> {
              try {
                names.getOrFetch("k", context -> "second");
              } catch (CancelledException error) {
                thrown.set(error);
                interrupted.set(Thread.currentThread().isInterrupted());
              }
            });
    second.start();
    Thread.sleep(50);
    second.interrupt();
    second.join();
    assertInstanceOf(CancelledException.class, thrown.get());
    assertTrue(interrupted.get(), "the thread stays interrupted");
    gate.countDown();
    assertEquals("first", first.get(10, TimeUnit.SECONDS).value());
  }

  @Test
  void aStaleValueIsRefreshedInAThreadOfTheClient() throws Exception {
    String config = "[defaults]\nttl_jitter = 0.0\nstale_while_revalidate = \"10m\"\n";
    try (LarderServer stale = LarderServer.builder().config(config).start();
        LarderClient own =
            LarderClient.builder().target(stale.target()).preset(Preset.LOCAL).build()) {
      Namespace<String> names = own.namespace("stale", String.class);
      names.set("k", "old", WriteOptions.withTtl(Duration.ofMillis(20)));
      await(() -> names.get("k").outcome() == dev.larder.client.Outcome.STALE);
      AtomicReference<Thread> ran = new AtomicReference<>();
      Result<String> result =
          names.getOrFetch(
              "k",
              context -> {
                ran.set(Thread.currentThread());
                return "new";
              },
              FetchOptions.withTtl(Duration.ofMinutes(1)));
      assertEquals("old", result.value());
      await(() -> "new".equals(names.get("k").value()));
      assertNotSame(Thread.currentThread(), ran.get());
    }
  }

  @Test
  void aNearCacheDoesNotShareWhatReadersCanChange() throws Exception {
    Namespace<Object> near =
        client.namespace(
            "near" + System.nanoTime(),
            Object.class,
            NamespaceOptions.DEFAULTS.withNearCache());
    near.set("k", List.of(1));
    await(() -> near.get("k").tier().orElse(null) == Tier.CLIENT);
    ((List<?>) near.get("k").value()).clear();
    assertEquals(List.of(1), near.get("k").value());
    near.set("t", "text");
    await(() -> near.get("t").tier().orElse(null) == Tier.CLIENT);
    assertSame(near.get("t").value(), near.get("t").value());
  }

  /** Virtual threads where Java has them. */
  private static ExecutorService threads() throws ReflectiveOperationException {
    boolean virtual = Runtime.version().feature() >= 21;
    String factory = virtual ? "newVirtualThreadPerTaskExecutor" : "newCachedThreadPool";
    return (ExecutorService) Executors.class.getMethod(factory).invoke(null);
  }

  @Test
  void manyThreadsComputeOnce() throws Exception {
    Namespace<String> names = fresh("crowd-", String.class);
    AtomicInteger runs = new AtomicInteger();
    ExecutorService threads = threads();
    Callable<Result<String>> call =
        () ->
            names.getOrFetch(
                "k",
                context -> {
                  runs.incrementAndGet();
                  Thread.sleep(20);
                  return "once";
                });
    for (Future<Result<String>> each : threads.invokeAll(Collections.nCopies(200, call))) {
      assertEquals("once", each.get().value());
    }
    threads.shutdown();
    assertEquals(1, runs.get());
  }

  @Test
  void paramsMakeSeveralEntriesOfOneKey() {
    Namespace<String> names = fresh("params-", String.class);
    Key german = Key.of("k").param("lang", "de");
    names.set(german, "eins", WriteOptions.DEFAULTS);
    names.set("k", "one");
    assertEquals("eins", names.get(german).value());
    Map<Key, Result<String>> both = names.getMany(List.of(german, Key.of("k")));
    assertEquals(List.of("eins", "one"), both.values().stream().map(Result::value).toList());
    assertThrows(IllegalArgumentException.class, () -> names.getMany(List.of(7)));
  }

  @Test
  void nullIsAValue() {
    Namespace<User> users = fresh("null-", User.class);
    users.set("k", null);
    Result<User> read = users.get("k");
    assertTrue(read.found());
    assertNull(read.value());
    assertNull(users.getOrFetch("other", context -> null).value());
    assertTrue(users.get("other").found());
  }

  @Test
  void tokensOfAProviderAreKept() {
    AtomicInteger asked = new AtomicInteger();
    try (LarderClient own =
        LarderClient.builder()
            .target(server.target())
            .preset(Preset.LOCAL)
            .tokenProvider(
                () -> {
                  asked.incrementAndGet();
                  return new Token("secret", Duration.ofMinutes(5));
                })
            .build()) {
      Namespace<String> names = own.namespace("tokens", String.class);
      names.get("a");
      names.get("b");
    }
    assertEquals(1, asked.get());
  }
}
