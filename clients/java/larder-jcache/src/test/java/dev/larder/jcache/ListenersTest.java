package dev.larder.jcache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.testing.FakeLarder;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.cache.Cache;
import javax.cache.CacheManager;
import javax.cache.configuration.MutableCacheEntryListenerConfiguration;
import javax.cache.configuration.MutableConfiguration;
import javax.cache.event.CacheEntryCreatedListener;
import javax.cache.event.CacheEntryEvent;
import javax.cache.event.CacheEntryListener;
import javax.cache.event.CacheEntryRemovedListener;
import javax.cache.event.CacheEntryUpdatedListener;
import javax.cache.expiry.CreatedExpiryPolicy;
import javax.cache.expiry.Duration;
import javax.cache.integration.CacheWriter;
import javax.cache.integration.CacheWriterException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Listeners and writers. */
class ListenersTest {
  private final FakeLarder fake = new FakeLarder();
  private final LarderClient client = fake.client();
  private final CacheManager manager = Processes.manager(client);

  @AfterEach
  void close() {
    manager.close();
    client.close();
  }

  /** Keeps the events. */
  private static class Recorder
      implements CacheEntryCreatedListener<String, Integer>,
          CacheEntryUpdatedListener<String, Integer>,
          CacheEntryRemovedListener<String, Integer>,
          AutoCloseable {
    final List<String> events = new CopyOnWriteArrayList<>();
    final CountDownLatch closed = new CountDownLatch(1);

    void take(Iterable<CacheEntryEvent<? extends String, ? extends Integer>> some) {
      some.forEach(
          event ->
              events.add(
                  event.getEventType()
                      + " "
                      + event.getKey()
                      + " "
                      + event.getOldValue()
                      + " "
                      + event.getValue()));
    }

    @Override
    public void onCreated(Iterable<CacheEntryEvent<? extends String, ? extends Integer>> some) {
      take(some);
    }

    @Override
    public void onUpdated(Iterable<CacheEntryEvent<? extends String, ? extends Integer>> some) {
      take(some);
    }

    @Override
    public void onRemoved(Iterable<CacheEntryEvent<? extends String, ? extends Integer>> some) {
      take(some);
    }

    @Override
    public void close() {
      closed.countDown();
    }
  }

  private static MutableCacheEntryListenerConfiguration<String, Integer> listening(
      CacheEntryListener<String, Integer> listener, boolean synchronous) {
    return new MutableCacheEntryListenerConfiguration<>(() -> listener, null, true, synchronous);
  }

  @Test
  void asynchronousListenersReceiveAllInOrder() throws Exception {
    Recorder recorder = new Recorder();
    Cache<String, Integer> cache =
        manager.createCache(
            "c",
            new MutableConfiguration<String, Integer>()
                .addCacheEntryListenerConfiguration(listening(recorder, false)));
    List<String> expected = new ArrayList<>();
    for (int value = 0; value < 200; value++) {
      cache.put("k", value);
      expected.add(
          value == 0 ? "CREATED k null 0" : "UPDATED k " + (value - 1) + " " + value);
    }
    cache.remove("k");
    expected.add("REMOVED k 199 199");
    // Events that wait are delivered before the listener is closed.
    cache.close();
    assertTrue(recorder.closed.await(1, TimeUnit.MINUTES));
    assertEquals(expected, recorder.events);
    assertFalse(
        Thread.getAllStackTraces().keySet().stream()
            .anyMatch(thread -> thread.getName().equals("larder-jcache-listeners")));
  }

  @Test
  void aListenerThatIsTakenOutIsClosed() {
    Recorder recorder = new Recorder();
    Cache<String, Integer> cache = manager.createCache("c", new MutableConfiguration<>());
    var configuration = listening(recorder, true);
    cache.registerCacheEntryListener(configuration);
    cache.put("k", 1);
    cache.deregisterCacheEntryListener(configuration);
    cache.put("k", 2);
    assertEquals(List.of("CREATED k null 1"), recorder.events);
    assertEquals(0, recorder.closed.getCount());
  }

  @Test
  void aReadOfAnotherKeyWithinAListenerIsPermitted() {
    Cache<String, Integer> cache = manager.createCache("c", new MutableConfiguration<>());
    List<Integer> seen = new ArrayList<>();
    cache.put("other", 7);
    cache.registerCacheEntryListener(
        listening(
            (CacheEntryCreatedListener<String, Integer>)
                events -> events.forEach(event -> seen.add(cache.get("other"))),
            true));
    cache.put("k", 1);
    assertEquals(List.of(7), seen);
  }

  /** A store of values that refuses some. */
  private static final class Database implements CacheWriter<String, Integer> {
    final Map<String, Integer> rows = new TreeMap<>();

    @Override
    public void write(Cache.Entry<? extends String, ? extends Integer> entry) {
      if (entry.getValue() < 0) {
        throw new IllegalArgumentException("negative");
      }
      rows.put(entry.getKey(), entry.getValue());
    }

    @Override
    public void writeAll(Collection<Cache.Entry<? extends String, ? extends Integer>> entries) {
      for (var each = entries.iterator(); each.hasNext(); ) {
        write(each.next());
        each.remove();
      }
    }

    @Override
    public void delete(Object key) {
      if (key.equals("kept")) {
        throw new IllegalArgumentException("kept");
      }
      rows.remove(key);
    }

    @Override
    public void deleteAll(Collection<?> keys) {
      for (var each = keys.iterator(); each.hasNext(); ) {
        delete(each.next());
        each.remove();
      }
    }
  }

  @Test
  void theCacheHasNothingThatTheWriterRefuses() {
    Database database = new Database();
    Cache<String, Integer> cache =
        manager.createCache(
            "c",
            new MutableConfiguration<String, Integer>()
                .setWriteThrough(true)
                .setCacheWriterFactory(() -> database)
                .setExpiryPolicyFactory(CreatedExpiryPolicy.factoryOf(Duration.ONE_HOUR)));
    cache.put("a", 1);
    assertThrows(CacheWriterException.class, () -> cache.put("a", -1));
    assertThrows(CacheWriterException.class, () -> cache.replace("a", -1));
    assertThrows(CacheWriterException.class, () -> cache.putIfAbsent("b", -1));
    assertThrows(
        CacheWriterException.class,
        () ->
            cache.invoke(
                "b",
                (entry, arguments) -> {
                  entry.setValue(-1);
                  return null;
                }));
    assertEquals(1, cache.get("a"));
    assertNull(cache.get("b"));
    Map<String, Integer> some = new TreeMap<>(Map.of("x", 1, "y", -1, "z", 2));
    assertThrows(CacheWriterException.class, () -> cache.putAll(some));
    assertEquals(Map.of("x", 1), cache.getAll(some.keySet()));
    assertEquals(Map.of("a", 1, "x", 1), database.rows);
    cache.put("kept", 3);
    assertThrows(CacheWriterException.class, () -> cache.remove("kept"));
    assertThrows(CacheWriterException.class, cache::removeAll);
    assertEquals(3, cache.get("kept"));
    cache.put("gone", 4);
    assertTrue(cache.remove("gone"));
    assertFalse(database.rows.containsKey("gone"));
  }
}
