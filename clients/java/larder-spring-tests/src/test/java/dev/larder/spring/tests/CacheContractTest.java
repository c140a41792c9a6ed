package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.spring.LarderCache;
import dev.larder.spring.LarderCacheConfiguration;
import dev.larder.spring.LarderCacheManager;
import java.io.IOException;
import java.lang.reflect.Constructor;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.cache.Cache;
import org.springframework.cache.support.NullValue;

/** The interface Cache of Spring: all that Spring checks of its own implementations, and more. */
class CacheContractTest {
  private static final String NO_NULL = "testCacheNoNull";
  private static LarderClient client;

  private LarderCacheManager manager;
  private LarderCache cache;

  @BeforeAll
  static void connect() {
    client = TestServer.client(TestServer.target()).build();
  }

  @AfterAll
  static void close() {
    client.close();
  }

  @BeforeEach
  void make() {
    manager =
        LarderCacheManager.builder(client)
            .cache(NO_NULL, LarderCacheConfiguration.DEFAULTS.nullValues(false))
            .build();
    cache = manager.cache("testCache");
    cache.clear();
  }

  private static String key() {
    return UUID.randomUUID().toString();
  }

  @Test
  void theNameIsThatOfTheCache() {
    assertEquals("testCache", cache.getName());
    assertSame(cache, manager.getCache("testCache"));
    assertTrue(manager.getCacheNames().containsAll(List.of("testCache", NO_NULL)));
  }

  @Test
  void theNativeCacheIsTheNamespace() {
    assertSame(cache.getNativeCache(), cache.getNativeCache());
    Namespace<?> namespace = assertInstanceOf(Namespace.class, cache.getNativeCache());
    assertEquals("testCache", namespace.name());
    assertEquals("x--testcache-31c3463f6768e21d", namespace.wireName());
  }

  @Test
  void aValueIsReadInAllWays() {
    String key = key();
    assertNull(cache.get(key));
    assertNull(cache.get(key, String.class));
    assertNull(cache.get(key, Object.class));
    cache.put(key, "george");
    assertEquals("george", cache.get(key).get());
    assertEquals("george", cache.get(key, String.class));
    assertEquals("george", cache.get(key, Object.class));
    assertEquals("george", cache.get(key, (Class<?>) null));
  }

  @Test
  void nullIsAValue() {
    String key = key();
    cache.put(key, null);
    assertNotNull(cache.get(key));
    assertNull(cache.get(key).get());
    assertNull(cache.get(key, String.class));
    assertNull(cache.get(key, Object.class));
  }

  @Test
  void theObjectForNullIsNull() throws ReflectiveOperationException {
    String key = key();
    Constructor<NullValue> other = NullValue.class.getDeclaredConstructor();
    other.setAccessible(true);
    for (Object value : List.of(NullValue.INSTANCE, other.newInstance())) {
      cache.put(key, value);
      assertNotNull(cache.get(key));
      assertNull(cache.get(key).get());
      assertNull(cache.get(key, String.class));
    }
  }

  @Test
  void nullIsRefusedIfItIsNoValue() {
    Cache strict = manager.getCache(NO_NULL);
    String key = key();
    IllegalArgumentException error =
        assertThrows(IllegalArgumentException.class, () -> strict.put(key, null));
    assertTrue(error.getMessage().contains(NO_NULL), error.getMessage());
    assertTrue(
        error
            .getMessage()
            .contains("is configured to not allow null values but null was provided"),
        error.getMessage());
    assertThrows(IllegalArgumentException.class, () -> strict.putIfAbsent(key, null));
    Cache.ValueRetrievalException loaded =
        assertThrows(Cache.ValueRetrievalException.class, () -> strict.get(key, () -> null));
    assertInstanceOf(IllegalArgumentException.class, loaded.getCause());
    assertNull(strict.get(key));
    // Null of another program is no value here.
    client.namespace(NO_NULL, String.class).as(Object.class).set(key, null);
    assertNull(strict.get(key));
  }

  @Test
  void putIfAbsentStoresOnce() {
    String key = key();
    assertNull(cache.putIfAbsent(key, "initial"));
    assertEquals("initial", cache.get(key).get());
    assertEquals("initial", cache.putIfAbsent(key, "another").get());
    assertEquals("initial", cache.get(key).get());
  }

  @Test
  void putIfAbsentFindsNull() {
    String key = key();
    assertNull(cache.putIfAbsent(key, null));
    assertNotNull(cache.putIfAbsent(key, "another"));
    assertNull(cache.putIfAbsent(key, "another").get());
  }

  @Test
  void ofManyPutIfAbsentOneStores() throws Exception {
    String key = key();
    List<Object> found =
        together(10, number -> {
          Cache.ValueWrapper before = cache.putIfAbsent(key, number);
          return before == null ? "stored" : before.get();
        });
    assertEquals(1, found.stream().filter("stored"::equals).count(), found.toString());
    Object winner = cache.get(key).get();
    assertTrue(
        found.stream().allMatch(each -> each.equals("stored") || each.equals(winner)),
        found.toString());
  }

  @Test
  void evictedEntriesAreGone() {
    String key = key();
    cache.put(key, "george");
    cache.evict(key);
    assertNull(cache.get(key));
    cache.put(key, "george");
    assertTrue(cache.evictIfPresent(key));
    assertFalse(cache.evictIfPresent(key));
    assertNull(cache.get(key));
  }

  @Test
  void aClearedCacheIsEmpty() {
    cache.put("enescu", "george");
    cache.put("vlaicu", "aurel");
    cache.clear();
    assertNull(cache.get("vlaicu"));
    assertNull(cache.get("enescu"));
    cache.put("enescu", "george");
    cache.invalidate();
    assertNull(cache.get("enescu"));
  }

  @Test
  void aMissingValueIsLoadedAndStored() {
    for (Object value : new Object[] {"test", null}) {
      String key = key();
      assertNull(cache.get(key));
      assertEquals(value, cache.get(key, () -> value));
      assertEquals(value, cache.get(key).get());
    }
  }

  @Test
  void aLoaderDoesNotRunForAValue() {
    for (Object value : new Object[] {"existing", null}) {
      String key = key();
      cache.put(key, value);
      Object found =
          cache.get(
              key,
              () -> {
                throw new IllegalStateException("the loader runs");
              });
      assertEquals(value, found);
    }
  }

  @Test
  void theErrorOfALoaderIsItsOwn() {
    for (Exception failure :
        List.of(new UnsupportedOperationException("own"), new IOException("own"))) {
      String key = key();
      Cache.ValueRetrievalException error =
          assertThrows(
              Cache.ValueRetrievalException.class,
              () ->
                  cache.get(
                      key,
                      () -> {
                        throw failure;
                      }));
      assertSame(failure, error.getCause());
      assertEquals(key, error.getKey());
      assertNull(cache.get(key));
    }
  }

  @Test
  void ofManyThreadsOneLoads() throws Exception {
    String key = key();
    AtomicInteger loads = new AtomicInteger();
    CountDownLatch all = new CountDownLatch(10);
    List<Object> found =
        together(
            10,
            number -> {
              all.countDown();
              return cache.get(
                  key,
                  () -> {
                    assertTrue(all.await(20, TimeUnit.SECONDS));
                    return loads.incrementAndGet();
                  });
            });
    assertEquals(List.of(1, 1, 1, 1, 1, 1, 1, 1, 1, 1), found);
    assertEquals(1, loads.get());
  }

  @Test
  void retrieveFindsWhatGetFinds() throws Exception {
    String key = key();
    assertNull(cache.retrieve(key).get(20, TimeUnit.SECONDS));
    cache.put(key, "george");
    assertEquals("george", wrapped(cache.retrieve(key)).get());
    cache.put(key, null);
    assertNull(wrapped(cache.retrieve(key)).get());
    Cache strict = manager.getCache(NO_NULL);
    strict.put(key, "george");
    assertEquals("george", strict.retrieve(key).get(20, TimeUnit.SECONDS));
  }

  private static Cache.ValueWrapper wrapped(CompletableFuture<?> found) throws Exception {
    return assertInstanceOf(Cache.ValueWrapper.class, found.get(20, TimeUnit.SECONDS));
  }

  @Test
  void retrieveLoadsOnce() throws Exception {
    String key = key();
    AtomicInteger loads = new AtomicInteger();
    List<CompletableFuture<Integer>> all = new ArrayList<>();
    CompletableFuture<Integer> source = new CompletableFuture<>();
    for (int call = 0; call < 10; call++) {
      all.add(
          cache.retrieve(
              key,
              () -> {
                loads.incrementAndGet();
                return source;
              }));
    }
    source.complete(7);
    for (CompletableFuture<Integer> one : all) {
      assertEquals(7, one.get(20, TimeUnit.SECONDS));
    }
    assertEquals(1, loads.get());
    assertEquals(7, cache.get(key).get());
    CompletableFuture<Integer> later =
        cache.retrieve(key, () -> CompletableFuture.completedFuture(8));
    assertEquals(7, later.get(20, TimeUnit.SECONDS));
  }

  @Test
  void retrieveLoadsNull() throws Exception {
    String key = key();
    assertNull(
        cache
            .retrieve(key, () -> CompletableFuture.completedFuture(null))
            .get(20, TimeUnit.SECONDS));
    assertNull(wrapped(cache.retrieve(key)).get());
  }

  @Test
  void theErrorOfAFutureIsItsOwn() {
    IOException failure = new IOException("own");
    CompletableFuture<Object> loaded =
        cache.retrieve(key(), () -> CompletableFuture.failedFuture(failure));
    ExecutionException error =
        assertThrows(ExecutionException.class, () -> loaded.get(20, TimeUnit.SECONDS));
    assertSame(failure, error.getCause());
    CompletableFuture<Object> thrown =
        cache.retrieve(
            key(),
            () -> {
              throw new UnsupportedOperationException("own");
            });
    error = assertThrows(ExecutionException.class, () -> thrown.get(20, TimeUnit.SECONDS));
    assertInstanceOf(UnsupportedOperationException.class, error.getCause());
    CompletableFuture<Object> none = cache.retrieve(key(), () -> null);
    error = assertThrows(ExecutionException.class, () -> none.get(20, TimeUnit.SECONDS));
    assertInstanceOf(IllegalStateException.class, error.getCause());
  }

  @Test
  void toCancelTheOnlyCallerCancelsItsLoader() throws Exception {
    CompletableFuture<Object> source = new CompletableFuture<>();
    CountDownLatch begun = new CountDownLatch(1);
    CompletableFuture<Object> loaded =
        cache.retrieve(
            key(),
            () -> {
              begun.countDown();
              return source;
            });
    assertTrue(begun.await(20, TimeUnit.SECONDS));
    loaded.cancel(true);
    assertThrows(
        java.util.concurrent.CancellationException.class, () -> source.get(20, TimeUnit.SECONDS));
  }

  @Test
  void futuresAreNotCompletedInThreadsOfTheClient() throws Exception {
    List<CompletableFuture<String>> names = new ArrayList<>();
    for (int call = 0; call < 5; call++) {
      names.add(
          cache
              .retrieve(key())
              .thenApply(
                  found -> {
                    // A call of the same client that waits: it would never end in its threads.
                    cache.put(key(), 1);
                    return Thread.currentThread().getName();
                  }));
    }
    for (CompletableFuture<String> name : names) {
      String thread = name.get(20, TimeUnit.SECONDS);
      assertFalse(thread.startsWith("larder"), thread);
    }
  }

  private interface Numbered {
    Object call(int number) throws Exception;
  }

  private static List<Object> together(int threads, Numbered action) throws Exception {
    ExecutorService executor = Executors.newFixedThreadPool(threads);
    try {
      List<Future<Object>> all = new ArrayList<>();
      for (int number = 0; number < threads; number++) {
        int own = number;
        all.add(executor.submit(() -> action.call(own)));
      }
      List<Object> results = new ArrayList<>();
      for (Future<Object> one : all) {
        results.add(one.get(30, TimeUnit.SECONDS));
      }
      return results;
    } finally {
      executor.shutdownNow();
    }
  }
}
