package dev.larder.jcache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.testing.FakeFailure;
import dev.larder.testing.FakeLarder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Function;
import javax.cache.Cache;
import javax.cache.CacheException;
import javax.cache.CacheManager;
import javax.cache.configuration.MutableConfiguration;
import javax.cache.expiry.CreatedExpiryPolicy;
import javax.cache.expiry.Duration;
import javax.cache.integration.CacheLoader;
import javax.cache.integration.CompletionListenerFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Loaders, of reads that miss and of loadAll. */
class LoadersTest {
  private final FakeLarder fake = new FakeLarder();
  private final LarderClient client = fake.client();
  private final CacheManager manager = Processes.manager(client);

  @AfterEach
  void close() {
    manager.close();
    client.close();
  }

  /** A source of values, each by a function. */
  private static final class Source<V> implements CacheLoader<String, V> {
    final List<String> loaded = new ArrayList<>();
    private final Function<String, V> values;

    Source(Function<String, V> values) {
      this.values = values;
    }

    @Override
    public V load(String key) {
      synchronized (loaded) {
        loaded.add(key);
      }
      return values.apply(key);
    }

    @Override
    public Map<String, V> loadAll(Iterable<? extends String> keys) {
      Map<String, V> all = new HashMap<>();
      for (String key : keys) {
        V value = load(key);
        if (value != null) {
          all.put(key, value);
        }
      }
      return all;
    }
  }

  private static <V> MutableConfiguration<String, V> loading(Source<V> source, Class<V> type) {
    return new MutableConfiguration<String, V>()
        .setTypes(String.class, type)
        .setReadThrough(true)
        .setCacheLoaderFactory(() -> source);
  }

  record Before(String amount) {}

  record After(int amount) {}

  @Test
  void anEntryOfAnOlderClassIsLoadedAgain() {
    Cache<String, Before> old =
        Processes.manager(client)
            .createCache(
                "c",
                new MutableConfiguration<String, Before>().setTypes(String.class, Before.class));
    for (String key : List.of("get", "many", "load", "invoke")) {
      old.put(key, new Before("a lot"));
    }
    Source<After> source = new Source<>(key -> new After(key.length()));
    Cache<String, After> cache = manager.createCache("c", loading(source, After.class));
    assertEquals(new After(3), cache.get("get"));
    assertEquals(new After(3), cache.get("get"));
    assertEquals(
        Map.of("get", new After(3), "many", new After(4)), cache.getAll(Set.of("get", "many")));
    assertEquals(new After(4), cache.getAll(Set.of("many")).get("many"));
    assertEquals(
        new After(6), cache.invoke("invoke", (entry, arguments) -> entry.getValue()));
    assertDone(cache, Set.of("load"), false);
    assertEquals(new After(4), cache.get("load"));
    assertEquals(List.of("get", "many", "invoke", "load"), source.loaded);
  }

  @Test
  void anEntryThatCannotBeReadIsNoOutage() {
    Cache<String, Before> old =
        Processes.manager(client)
            .createCache(
                "c",
                new MutableConfiguration<String, Before>().setTypes(String.class, Before.class));
    old.put("k", new Before("a lot"));
    Source<After> source = new Source<>(key -> null);
    Cache<String, After> cache = manager.createCache("c", loading(source, After.class));
    assertNull(cache.get("k"));
    old.put("k", new Before("a lot"));
    fake.fail(FakeFailure.UNAVAILABLE.methods("Delete"));
    Source<After> other = new Source<>(key -> new After(1));
    Cache<String, After> late =
        Processes.manager(client).createCache("c", loading(other, After.class));
    assertEquals(new After(1), late.get("k"));
  }

  private static void assertDone(Cache<String, ?> cache, Set<String> keys, boolean replace) {
    CompletionListenerFuture done = new CompletionListenerFuture();
    cache.loadAll(keys, replace, done);
    try {
      done.get(20, TimeUnit.SECONDS);
    } catch (Exception error) {
      throw new AssertionError("loadAll: " + error, error);
    }
  }

  private static Throwable failure(CompletionListenerFuture done) {
    return assertThrows(ExecutionException.class, () -> done.get(20, TimeUnit.SECONDS)).getCause();
  }

  @Test
  void loadAllStoresNothingOlder() {
    AtomicReference<Runnable> meanwhile = new AtomicReference<>(() -> {});
    Map<String, Integer> rows = new HashMap<>();
    Source<Integer> source =
        new Source<>(
            key -> {
              Integer row = rows.get(key);
              meanwhile.getAndSet(() -> {}).run();
              return row;
            });
    for (boolean created : List.of(false, true)) {
      MutableConfiguration<String, Integer> configuration = loading(source, Integer.class);
      if (created) {
        configuration.setExpiryPolicyFactory(CreatedExpiryPolicy.factoryOf(Duration.ONE_HOUR));
      }
      Cache<String, Integer> cache = manager.createCache("created " + created, configuration);
      for (boolean present : List.of(true, false)) {
        if (present) {
          cache.put("k", 0);
        } else {
          cache.clear();
        }
        rows.put("k", 1);
        meanwhile.set(
            () -> {
              rows.put("k", 2);
              cache.put("k", 2);
            });
        assertDone(cache, Set.of("k"), true);
        assertEquals(2, cache.get("k"), () -> "put while it was loaded, present " + present);
        if (!present) {
          cache.clear();
        }
        meanwhile.set(
            () -> {
              rows.remove("k");
              cache.remove("k");
            });
        assertDone(cache, Set.of("k"), true);
        assertFalse(cache.containsKey("k"), () -> "removed, present " + present);
      }
    }
  }

  @Test
  void loadAllReplacesIfItIsTo() {
    Source<Integer> source = new Source<>(String::length);
    Cache<String, Integer> cache = manager.createCache("c", loading(source, Integer.class));
    cache.put("one", 7);
    assertDone(cache, Set.of("one", "three"), false);
    assertEquals(Map.of("one", 7, "three", 5), cache.getAll(Set.of("one", "three")));
    assertEquals(List.of("three"), source.loaded);
    assertDone(cache, Set.of("one", "three"), true);
    assertEquals(Map.of("one", 3, "three", 5), cache.getAll(Set.of("one", "three")));
  }

  @Test
  void loadAllReportsThatNothingIsStored() {
    Source<Integer> source = new Source<>(String::length);
    Cache<String, Integer> cache = manager.createCache("c", loading(source, Integer.class));
    for (Runnable outage : List.<Runnable>of(
        () -> fake.fail(FakeFailure.UNAVAILABLE),
        fake::degrade,
        () -> fake.fail(FakeFailure.UNAVAILABLE.methods("BatchSet")))) {
      outage.run();
      CompletionListenerFuture done = new CompletionListenerFuture();
      cache.loadAll(Set.of("k"), true, done);
      assertInstanceOf(CacheException.class, failure(done));
      fake.recover();
    }
  }

  @Test
  void everyListenerOfLoadAllIsCalled() throws Exception {
    Cache<String, Integer> broken =
        manager.createCache(
            "broken",
            loading(
                new Source<Integer>(
                    key -> {
                      throw new AssertionError("on purpose");
                    }),
                Integer.class));
    CompletionListenerFuture error = new CompletionListenerFuture();
    broken.loadAll(Set.of("k"), true, error);
    assertInstanceOf(CacheException.class, failure(error));
    CountDownLatch begun = new CountDownLatch(4);
    CountDownLatch never = new CountDownLatch(1);
    Cache<String, Integer> slow =
        manager.createCache(
            "slow",
            loading(
                new Source<>(
                    key -> {
                      begun.countDown();
                      try {
                        never.await();
                      } catch (InterruptedException closed) {
                        throw new IllegalStateException(closed);
                      }
                      return 1;
                    }),
                Integer.class));
    List<CompletionListenerFuture> waiting = new ArrayList<>();
    for (int load = 0; load < 6; load++) {
      waiting.add(new CompletionListenerFuture());
      slow.loadAll(Set.of("k" + load), true, waiting.get(load));
    }
    assertTrue(begun.await(20, TimeUnit.SECONDS));
    slow.close();
    for (CompletionListenerFuture each : waiting) {
      assertInstanceOf(CacheException.class, failure(each));
    }
  }
}
