package dev.larder.jcache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.testing.FakeFailure;
import dev.larder.testing.FakeLarder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import javax.cache.Cache;
import javax.cache.CacheException;
import javax.cache.CacheManager;
import javax.cache.configuration.MutableCacheEntryListenerConfiguration;
import javax.cache.configuration.MutableConfiguration;
import javax.cache.event.CacheEntryCreatedListener;
import javax.cache.event.CacheEntryEvent;
import javax.cache.expiry.CreatedExpiryPolicy;
import javax.cache.expiry.Duration;
import javax.cache.integration.CacheWriter;
import javax.cache.integration.CacheWriterException;
import javax.cache.processor.EntryProcessor;
import javax.cache.processor.MutableEntry;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Writers: the cache and what is behind it have the same values. */
class WritersTest {
  private final FakeLarder fake = new FakeLarder();
  private final LarderClient client = fake.client();
  private final CacheManager manager = Processes.manager(client);
  private final CacheManager otherManager = Processes.manager(client);
  private final Database database = new Database();

  @AfterEach
  void close() {
    manager.close();
    otherManager.close();
    client.close();
  }

  /** A store of values that refuses some. */
  private static final class Database implements CacheWriter<String, Integer> {
    final Map<String, Integer> rows = new ConcurrentSkipListMap<>();
    final List<Integer> written = new CopyOnWriteArrayList<>();

    /** Runs when a change is refused. */
    Runnable refuses = () -> {};

    /** Runs once, after the next change of a row. */
    final AtomicReference<Runnable> meanwhile = new AtomicReference<>(() -> {});

    @Override
    public void write(Cache.Entry<? extends String, ? extends Integer> entry) {
      if (entry.getValue() < 0) {
        refuses.run();
        throw new IllegalArgumentException("negative");
      }
      rows.put(entry.getKey(), entry.getValue());
      written.add(entry.getValue());
      meanwhile.getAndSet(() -> {}).run();
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
        refuses.run();
        throw new IllegalArgumentException("kept");
      }
      rows.remove(key);
      meanwhile.getAndSet(() -> {}).run();
    }

    @Override
    public void deleteAll(Collection<?> keys) {
      for (var each = keys.iterator(); each.hasNext(); ) {
        delete(each.next());
        each.remove();
      }
    }
  }

  private MutableConfiguration<String, Integer> writingThrough() {
    return new MutableConfiguration<String, Integer>()
        .setWriteThrough(true)
        .setCacheWriterFactory(() -> database);
  }

  /** The cache of a process that has no writer. */
  private Cache<String, Integer> other() {
    return otherManager.createCache("c", new MutableConfiguration<>());
  }

  @Test
  void theCacheHasNothingThatTheWriterRefuses() {
    Cache<String, Integer> cache =
        manager.createCache(
            "c",
            writingThrough()
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

  /** Doubles a 1. At its first run, another process changes the entry meanwhile. */
  private static final class Meanwhile implements EntryProcessor<String, Integer, Integer> {
    final List<Integer> seen = new ArrayList<>();
    private final Cache<String, Integer> other;
    private final Integer value;

    Meanwhile(Cache<String, Integer> other, Integer value) {
      this.other = other;
      this.value = value;
    }

    @Override
    public Integer process(MutableEntry<String, Integer> entry, Object... arguments) {
      Integer found = entry.getValue();
      seen.add(found);
      if (seen.size() == 1) {
        if (value == null) {
          other.remove("k");
        } else {
          other.put("k", value);
        }
      }
      if (found != null && found == 1) {
        entry.setValue(2);
      }
      return found;
    }
  }

  @Test
  void whatIsNotDoneIsNotWritten() {
    Cache<String, Integer> cache = manager.createCache("c", writingThrough());
    Cache<String, Integer> other = other();
    cache.put("k", 1);
    // At the second try the entry has another value, which the processor leaves as it is.
    Meanwhile processor = new Meanwhile(other, 7);
    assertEquals(7, cache.invoke("k", processor));
    assertEquals(List.of(1, 7), processor.seen);
    assertEquals(List.of(1), database.written);
    assertEquals(7, cache.get("k"));
    cache.put("k", 1);
    assertNull(cache.invoke("k", new Meanwhile(other, null)));
    assertEquals(List.of(1, 1), database.written);
    assertNull(cache.get("k"));
  }

  @Test
  void aChangeAfterTheWriterHasRefusedStays() {
    Cache<String, Integer> cache = manager.createCache("c", writingThrough());
    Cache<String, Integer> other = other();
    cache.put("k", 1);
    database.refuses = () -> other.put("k", 7);
    assertThrows(CacheWriterException.class, () -> cache.replace("k", 1, -1));
    assertEquals(7, cache.get("k"));
    database.refuses = () -> other.put("new", 8);
    assertThrows(CacheWriterException.class, () -> cache.putIfAbsent("new", -1));
    assertEquals(8, cache.get("new"));
    cache.put("kept", 1);
    database.refuses = () -> other.put("kept", 9);
    assertThrows(CacheWriterException.class, () -> cache.remove("kept", 1));
    assertEquals(9, cache.get("kept"));
    database.refuses = () -> {};
    assertThrows(CacheWriterException.class, () -> cache.remove("kept", 9));
    assertEquals(9, cache.get("kept"));
  }

  @Test
  void aRefusedChangeHasNoListenersAndKeepsTheLifetime() {
    List<String> events = new CopyOnWriteArrayList<>();
    CacheEntryCreatedListener<String, Integer> listener =
        some -> {
          for (CacheEntryEvent<? extends String, ? extends Integer> event : some) {
            events.add(event.getKey());
          }
        };
    Cache<String, Integer> cache =
        manager.createCache(
            "c",
            writingThrough()
                .setExpiryPolicyFactory(
                    CreatedExpiryPolicy.factoryOf(new Duration(TimeUnit.MINUTES, 10)))
                .addCacheEntryListenerConfiguration(
                    new MutableCacheEntryListenerConfiguration<>(
                        () -> listener, null, true, true)));
    cache.put("k", 1);
    fake.advance(java.time.Duration.ofMinutes(9));
    assertThrows(CacheWriterException.class, () -> cache.replace("k", 1, -1));
    assertThrows(CacheWriterException.class, () -> cache.putIfAbsent("l", -1));
    assertEquals(List.of("k"), events);
    assertEquals(1, cache.get("k"));
    fake.advance(java.time.Duration.ofMinutes(2));
    assertNull(cache.get("k"));
  }

  @Test
  void aPutIsWrittenAlsoWithoutTheCache() {
    Cache<String, Integer> blind = manager.createCache("blind", writingThrough());
    Cache<String, Integer> reading =
        manager.createCache(
            "reading",
            writingThrough()
                .setExpiryPolicyFactory(CreatedExpiryPolicy.factoryOf(Duration.ONE_HOUR)));
    fake.fail(FakeFailure.UNAVAILABLE);
    blind.put("a", 1);
    blind.putAll(Map.of("b", 2));
    reading.put("c", 3);
    reading.putAll(Map.of("d", 4));
    assertEquals(Map.of("a", 1, "b", 2, "c", 3, "d", 4), database.rows);
    assertThrows(CacheException.class, () -> reading.putIfAbsent("e", 5));
    assertEquals(Set.of("a", "b", "c", "d"), database.rows.keySet());
  }

  /** Runs an action in a thread, until it has ended or waits for the lock of a key. */
  private static Thread inAnotherThread(Runnable action) {
    Thread thread = new Thread(action, "another");
    thread.start();
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (thread.isAlive()
        && Arrays.stream(thread.getStackTrace())
            .noneMatch(frame -> frame.getClassName().endsWith("KeyLocks"))) {
      assertTrue(System.nanoTime() < deadline, "it neither ends nor waits");
      Thread.onSpinWait();
    }
    return thread;
  }

  @Test
  void writesOfAKeyHappenOneByOneAlsoInBatches() throws Exception {
    Cache<String, Integer> cache = manager.createCache("c", writingThrough());
    List<Thread> threads = new ArrayList<>();
    database.meanwhile.set(() -> threads.add(inAnotherThread(() -> cache.put("k", 2))));
    cache.putAll(Map.of("k", 1));
    threads.get(0).join(20_000);
    assertEquals(2, database.rows.get("k"));
    assertEquals(2, cache.get("k"));
    database.meanwhile.set(() -> threads.add(inAnotherThread(() -> cache.put("k", 3))));
    cache.removeAll(Set.of("k"));
    threads.get(1).join(20_000);
    assertEquals(3, database.rows.get("k"));
    assertEquals(3, cache.get("k"));
  }
}
