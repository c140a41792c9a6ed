package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.AsyncLoader;
import dev.larder.client.Codec;
import dev.larder.client.Codecs;
import dev.larder.client.Encoded;
import dev.larder.client.FetchOptions;
import dev.larder.client.InvalidArgumentException;
import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.OnError;
import dev.larder.client.Result;
import dev.larder.client.UnavailableException;
import dev.larder.client.WriteOptions;
import dev.larder.client.internal.Errors;
import dev.larder.testing.FakeFailure;
import dev.larder.testing.FakeLarder;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Whatever happens to a computation, its lease is filled or given up. */
class LeasesTest {
  private static final NamespaceOptions RAISE = NamespaceOptions.DEFAULTS.onError(OnError.RAISE);

  private final FakeLarder fake = new FakeLarder();

  /** A client with time on a busy machine. */
  private LarderClient client() {
    return fake.client(
        LarderClient.builder()
            .logger(null)
            .callTimeout(Duration.ofMinutes(1))
            .waitMargin(Duration.ofMinutes(1)));
  }

  private static void await(BooleanSupplier condition) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() < deadline, "it does not come");
      Thread.sleep(10);
    }
  }

  private long made(String method) {
    return fake.calls().stream().filter(call -> call.method().equals(method)).count();
  }

  /** Cannot encode anything. */
  private static Codec<String> broken(Throwable error) {
    return new Codec<>() {
      @Override
      public Encoded encode(String value) {
        throw Errors.<RuntimeException>sneaky(error);
      }

      @Override
      public String decode(Encoded encoded) {
        return Codecs.text().decode(encoded);
      }
    };
  }

  @Test
  void aCodecThatFailsGivesTheLeaseUp() throws Exception {
    try (LarderClient client = client()) {
      for (Throwable error : List.of(new IllegalStateException("broken"), new AssertionError())) {
        long before = made("Abandon");
        Namespace<String> names =
            client.namespace("names", broken(error), NamespaceOptions.DEFAULTS);
        assertThrows(error.getClass(), () -> names.getOrFetch("k", load -> "v"));
        await(() -> made("Abandon") == before + 1);
        assertThrows(
            error.getClass(),
            () ->
                names.getOrFetchMany(
                    List.of("k", "l"),
                    (keys, load) -> keys.stream().collect(Collectors.toMap(key -> key, key -> key)),
                    FetchOptions.DEFAULTS));
        await(() -> made("Abandon") == before + 3);
      }
    }
  }

  @Test
  void aLoaderThatFailsWithAnErrorGivesTheLeaseUp() throws Exception {
    try (LarderClient client = client()) {
      Namespace<String> names = client.namespace("names", String.class);
      CompletableFuture<Result<String>> result =
          names
              .async()
              .getOrFetch(
                  "k",
                  load -> {
                    throw new AssertionError("broken");
                  });
      Exception thrown = assertThrows(Exception.class, () -> result.get(20, TimeUnit.SECONDS));
      assertInstanceOf(AssertionError.class, thrown.getCause());
      await(() -> made("Abandon") == 1);
    }
  }

  @Test
  void aFillThatFailsThrowsNothing() {
    try (LarderClient client = client()) {
      Namespace<String> strict = client.namespace("names", String.class, RAISE);
      for (Code code : List.of(Code.UNAVAILABLE, Code.PERMISSION_DENIED)) {
        fake.fail(FakeFailure.UNAVAILABLE.error(code, "").methods("Set", "BatchSet"));
        Result<String> result = strict.getOrFetch("k " + code, load -> "v");
        assertEquals("v", result.value());
        assertFalse(result.stored().orElseThrow().stored());
        Map<String, Result<String>> many =
            strict.getOrFetchMany(
                List.of("a" + code, "b" + code),
                (keys, load) -> keys.stream().collect(Collectors.toMap(key -> key, key -> "v")),
                FetchOptions.DEFAULTS);
        assertEquals("v", many.get("a" + code).value());
        fake.recover();
      }
    }
  }

  @Test
  void anOutageIsNotLookedForInEachItemOfABatch() {
    try (LarderClient client = client()) {
      Namespace<String> strict = client.namespace("names", String.class, RAISE);
      fake.fail(FakeFailure.UNAVAILABLE.methods("BatchSet"));
      List<String> keys = List.of("a", "b", "c", "d", "e", "f");
      strict.getOrFetchMany(
          keys,
          (missing, load) -> missing.stream().collect(Collectors.toMap(key -> key, key -> key)),
          FetchOptions.DEFAULTS);
      assertEquals(1, made("BatchSet"));
    }
  }

  @Test
  void oneItemThatIsWrongLeavesTheOthersStored() {
    try (LarderClient client = client()) {
      Namespace<String> names = client.namespace("names", String.class);
      Map<String, Result<String>> many =
          names.getOrFetchMany(
              List.of("a", "b", "c", "d", "e"),
              (keys, load) ->
                  keys.stream()
                      .collect(
                          Collectors.toMap(
                              key -> key, key -> key.equals("c") ? "x".repeat(2 << 20) : key)),
              FetchOptions.DEFAULTS);
      assertFalse(many.get("c").stored().orElseThrow().stored());
      for (String key : List.of("a", "b", "d", "e")) {
        assertTrue(many.get(key).stored().orElseThrow().stored(), key);
      }
    }
  }

  @Test
  void aHandleThatRaisesDoesNotJoinOneThatDoesNot() throws Exception {
    try (LarderClient client = client()) {
      fake.fail(FakeFailure.UNAVAILABLE.methods("GetOrFetch"));
      CountDownLatch loading = new CountDownLatch(1);
      CompletableFuture<String> value = new CompletableFuture<>();
      CompletableFuture<Result<String>> open =
          client
              .namespace("names", String.class)
              .async()
              .getOrFetch(
                  "k",
                  load -> {
                    loading.countDown();
                    return value;
                  });
      assertTrue(loading.await(20, TimeUnit.SECONDS));
      CompletableFuture<Result<String>> strict =
          client
              .namespace("names", String.class, RAISE)
              .async()
              .getOrFetch("k", load -> CompletableFuture.completedFuture("w"));
      Exception thrown = assertThrows(Exception.class, () -> strict.get(20, TimeUnit.SECONDS));
      assertInstanceOf(UnavailableException.class, thrown.getCause());
      value.complete("v");
      assertEquals("v", open.get(20, TimeUnit.SECONDS).value());
    }
  }

  @Test
  void aValueThatStaysUnreadableIsComputed() throws Exception {
    try (LarderClient older = client();
        LarderClient newer = client()) {
      Namespace<String> texts = older.namespace("names", String.class);
      texts.set("k", "no number");
      CountDownLatch leased = new CountDownLatch(1);
      CompletableFuture<String> again = new CompletableFuture<>();
      CompletableFuture<Result<String>> storing =
          texts
              .async()
              .getOrFetch(
                  dev.larder.client.Key.of("k"),
                  load -> {
                    leased.countDown();
                    return again;
                  },
                  FetchOptions.DEFAULTS.refresh(true));
      assertTrue(leased.await(20, TimeUnit.SECONDS));
      AtomicInteger loads = new AtomicInteger();
      CompletableFuture<Result<Integer>> number =
          newer
              .namespace("names", Integer.class)
              .async()
              .getOrFetch(
                  "k",
                  load -> {
                    loads.incrementAndGet();
                    return CompletableFuture.completedFuture(7);
                  });
      // The first call of it has found the old value, and the second waits for the lease.
      await(() -> made("GetOrFetch") == 3);
      again.complete("still no number");
      assertEquals("still no number", storing.get(20, TimeUnit.SECONDS).value());
      Result<Integer> result = number.get(20, TimeUnit.SECONDS);
      assertEquals(7, result.value());
      assertFalse(result.stored().orElseThrow().stored());
      assertTrue(result.error().isPresent());
      assertEquals(1, loads.get());
    }
  }

  @Test
  void closeEndsComputationsThatNoCallJoinsAnyMore() throws Exception {
    LarderClient client = client();
    CountDownLatch loading = new CountDownLatch(1);
    CompletableFuture<Result<String>> result =
        client
            .namespace("names", String.class)
            .async()
            .getOrFetch(
                "k",
                load -> {
                  loading.countDown();
                  return new CompletableFuture<>();
                });
    assertTrue(loading.await(20, TimeUnit.SECONDS));
    client.namespace("names", String.class).delete("other");
    client.publishEvent("anything", Map.of());
    client.close();
    Exception thrown = assertThrows(Exception.class, () -> result.get(20, TimeUnit.SECONDS));
    LarderException cause = assertInstanceOf(LarderException.class, thrown.getCause());
    assertEquals("CLIENT_CLOSED", cause.reason());
    await(() -> made("Abandon") == 1);
  }

  @Test
  void anActionOfACancellationThatFailsLeavesTheOthers() throws Exception {
    CountDownLatch loading = new CountDownLatch(2);
    LarderClient client = client();
    Namespace<String> names = client.namespace("names", String.class);
    AsyncLoader<String> loader =
        load -> {
          load.onCancel(
              () -> {
                throw new IllegalStateException("broken");
              });
          loading.countDown();
          return new CompletableFuture<>();
        };
    CompletableFuture<Result<String>> left = names.async().getOrFetch("left", loader);
    CompletableFuture<Result<String>> closed = names.async().getOrFetch("closed", loader);
    assertTrue(loading.await(20, TimeUnit.SECONDS));
    assertTrue(left.cancel(true));
    await(() -> made("Abandon") == 1);
    client.close();
    assertThrows(Exception.class, () -> closed.get(20, TimeUnit.SECONDS));
    await(() -> made("Abandon") == 2);
  }

  @Test
  void tagsAreCheckedWithoutTheCache() {
    try (LarderClient client = client()) {
      fake.fail(FakeFailure.UNAVAILABLE);
      Namespace<String> names = client.namespace("names", String.class);
      String[] many = new String[33];
      for (int tag = 0; tag < many.length; tag++) {
        many[tag] = "t" + tag;
      }
      for (String[] tags : new String[][] {{""}, {"x".repeat(129)}, many}) {
        WriteOptions options = WriteOptions.DEFAULTS.tags(tags);
        assertThrows(InvalidArgumentException.class, () -> names.set("k", "v", options));
        assertThrows(
            InvalidArgumentException.class, () -> names.setMany(Map.of("k", "v"), options));
      }
      assertThrows(
          InvalidArgumentException.class,
          () -> names.getOrFetch("k", load -> "v", FetchOptions.DEFAULTS.tags("")));
    }
  }
}
