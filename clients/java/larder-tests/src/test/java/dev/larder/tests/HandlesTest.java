package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Message;
import dev.larder.client.Change;
import dev.larder.client.Codecs;
import dev.larder.client.FailedPreconditionException;
import dev.larder.client.FetchOptions;
import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.OnError;
import dev.larder.client.Result;
import dev.larder.client.Targets;
import dev.larder.client.TypeOf;
import dev.larder.client.Watch;
import dev.larder.testing.FakeFailure;
import dev.larder.testing.FakeLarder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Handles of a client, and clients of a builder. */
class HandlesTest {
  private static final int MAX_MESSAGE = 4 << 20;

  private final FakeLarder fake = new FakeLarder();

  /** A client with time on a busy machine. */
  private LarderClient client() {
    return fake.client(
        LarderClient.builder()
            .logger(null)
            .callTimeout(Duration.ofSeconds(20))
            .waitMargin(Duration.ofSeconds(20)));
  }

  private long made(String method) {
    return fake.calls().stream().filter(call -> call.method().equals(method)).count();
  }

  @Test
  void clientsOfOneBuilderHaveTheirOwnSettings() {
    LarderClient.Builder builder = LarderClient.builder().logger(null).namespacePrefix("a.");
    try (LarderClient first = fake.client(builder);
        LarderClient second =
            fake.client(builder.namespacePrefix("b.").onError(OnError.RAISE))) {
      assertEquals("a.n", first.namespace("n", String.class).wireName());
      assertEquals("b.n", second.namespace("n", String.class).wireName());
      fake.fail(FakeFailure.UNAVAILABLE);
      assertTrue(first.namespace("n", String.class).get("k").degraded());
    }
  }

  @Test
  void codecsOfOneTypeAreEqual() {
    byte[] secret = "sixteen bytes at least".getBytes(StandardCharsets.UTF_8);
    byte[] other = "other secret of a codec".getBytes(StandardCharsets.UTF_8);
    assertEquals(Codecs.auto(String.class), Codecs.auto(String.class));
    assertEquals(
        Codecs.auto(new TypeOf<List<Integer>>() {}.type()),
        Codecs.auto(new TypeOf<List<Integer>>() {}.type()));
    assertNotEquals(Codecs.auto(String.class), Codecs.auto(Object.class));
    assertEquals(
        Codecs.serialized(secret, String.class), Codecs.serialized(secret, String.class));
    assertNotEquals(
        Codecs.serialized(secret, String.class), Codecs.serialized(other, String.class));
  }

  @Test
  void callsOfSeveralHandlesJoin() throws Exception {
    AtomicInteger loads = new AtomicInteger();
    CountDownLatch loading = new CountDownLatch(1);
    CompletableFuture<String> value = new CompletableFuture<>();
    // With the cache away, nothing but joining spares the origin.
    fake.fail(FakeFailure.UNAVAILABLE);
    try (LarderClient client = client()) {
      Function<Integer, CompletableFuture<Result<String>>> call =
          number ->
              client
                  .namespace("names", String.class)
                  .async()
                  .getOrFetch(
                      "k",
                      load -> {
                        loads.incrementAndGet();
                        loading.countDown();
                        return value;
                      });
      CompletableFuture<Result<String>> first = call.apply(0);
      assertTrue(loading.await(20, TimeUnit.SECONDS));
      List<CompletableFuture<Result<String>>> others =
          IntStream.range(0, 5).mapToObj(call::apply).toList();
      value.complete("v");
      assertEquals("v", first.get(20, TimeUnit.SECONDS).value());
      for (CompletableFuture<Result<String>> other : others) {
        assertEquals("v", other.get(20, TimeUnit.SECONDS).value());
      }
      assertEquals(1, loads.get());
    }
  }

  @Test
  void theFakeAnswersWhileTheCommonPoolIsBusy() throws Exception {
    CountDownLatch done = new CountDownLatch(1);
    try (LarderClient client = client();
        Watch watch = client.namespace("names", String.class).watch(false)) {
      for (int thread = 0; thread <= ForkJoinPool.commonPool().getParallelism(); thread++) {
        ForkJoinPool.commonPool().execute(() -> await(done));
      }
      Namespace<String> names = client.namespace("names", String.class);
      assertTrue(names.set("k", "v").stored());
      names.invalidateNamespace();
      CompletableFuture<Boolean> invalidated =
          CompletableFuture.supplyAsync(
              () -> {
                while (!(watch.next() instanceof Change.NamespaceInvalidated)) {
                  assertTrue(watch.hasNext());
                }
                return true;
              },
              action -> new Thread(action, "reader").start());
      assertTrue(invalidated.get(20, TimeUnit.SECONDS));
    } finally {
      done.countDown();
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
  }

  @Test
  void batchesOfLargeKeysAreSeveralMessages() {
    try (LarderClient client = client()) {
      Namespace<String> names = client.namespace("large", String.class);
      List<Key> keys =
          IntStream.range(0, 1000)
              .mapToObj(number -> Key.of("k" + number).param("p", "x".repeat(5000)))
              .toList();
      Map<Key, String> values = new LinkedHashMap<>();
      keys.forEach(key -> values.put(key, "v"));
      names.setMany(values).values().forEach(result -> assertTrue(result.stored()));
      names.getMany(keys).values().forEach(result -> assertTrue(result.found()));
      names.deleteMany(keys).values().forEach(deleted -> assertTrue(deleted.existed()));
      names
          .getOrFetchMany(
              keys,
              (missing, load) -> missing.stream().collect(Collectors.toMap(key -> key, key -> "v")),
              FetchOptions.DEFAULTS)
          .values()
          .forEach(result -> assertTrue(result.stored().orElseThrow().stored()));
      names.invalidate(new Targets(List.of(), List.of(), keys));
      for (String method :
          List.of("BatchSet", "BatchGet", "BatchDelete", "BatchGetOrFetch", "Invalidate")) {
        assertTrue(made(method) > 1, method);
      }
      for (FakeLarder.Made call : fake.calls()) {
        Message request = call.request();
        assertTrue(request.getSerializedSize() < MAX_MESSAGE, call.method());
      }
    }
  }

  @Test
  void afterCloseFuturesHaveTheError() {
    LarderClient client = client();
    Namespace<String> names = client.namespace("names", String.class);
    client.close();
    for (CompletableFuture<?> future :
        List.of(
            names.async().get("k"),
            names.async().set("k", "v"),
            names.async().getMany(List.of("k")),
            names.async().getOrFetch("k", load -> CompletableFuture.completedFuture("v")))) {
      ExecutionException thrown =
          assertThrows(ExecutionException.class, () -> future.get(20, TimeUnit.SECONDS));
      assertInstanceOf(FailedPreconditionException.class, thrown.getCause());
    }
  }

  private void readNear(LarderClient client) {
    client
        .namespace("near", String.class, NamespaceOptions.DEFAULTS.withNearCache())
        .get("k");
  }

  @Test
  void theStreamOfANearCacheThatIsDroppedEnds() throws Exception {
    try (LarderClient client = client()) {
      readNear(client);
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      // Another stream is opened only if the first has ended.
      while (made("Watch") < 2) {
        assertFalse(System.nanoTime() > deadline, "it does not come");
        System.gc();
        fake.resetWatches();
        Thread.sleep(20);
        readNear(client);
      }
    }
  }
}
