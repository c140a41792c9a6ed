package dev.larder.jcache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.testing.FakeLarder;
import java.util.ArrayList;
import java.util.List;
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
import javax.cache.event.CacheEntryListenerException;
import javax.cache.event.CacheEntryRemovedListener;
import javax.cache.event.CacheEntryUpdatedListener;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Listeners. */
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

  @Test
  void aListenerThatCausesEventsDoesNotWaitForItself() throws Exception {
    Cache<String, Integer> cache = manager.createCache("c", new MutableConfiguration<>());
    Listeners<String, Integer> listeners = new Listeners<>(cache);
    CountDownLatch full = new CountDownLatch(1);
    CountDownLatch caused = new CountDownLatch(1);
    CacheEntryCreatedListener<String, Integer> causing =
        events ->
            events.forEach(
                event -> {
                  if (event.getKey().equals("caused")) {
                    caused.countDown();
                  } else if (event.getValue() == 0) {
                    await(full);
                    listeners.created("caused", 0);
                  }
                });
    listeners.add(listening(causing, false));
    for (int value = 0; value <= 10_000; value++) {
      listeners.created("k", value);
    }
    full.countDown();
    assertTrue(caused.await(20, TimeUnit.SECONDS), "the listener waits for itself");
    listeners.close();
  }

  private static void await(CountDownLatch latch) {
    try {
      assertTrue(latch.await(20, TimeUnit.SECONDS), "it does not come");
    } catch (InterruptedException error) {
      throw new IllegalStateException(error);
    }
  }

  @Test
  void anErrorOfAListenerIsNoneOfTheOthers() throws Exception {
    Cache<String, Integer> cache = manager.createCache("c", new MutableConfiguration<>());
    Recorder recorder = new Recorder();
    CountDownLatch second = new CountDownLatch(2);
    cache.registerCacheEntryListener(
        listening(
            (CacheEntryCreatedListener<String, Integer>)
                events -> {
                  throw new IllegalStateException("on purpose");
                },
            true));
    cache.registerCacheEntryListener(listening(recorder, true));
    cache.registerCacheEntryListener(
        listening(
            (CacheEntryCreatedListener<String, Integer>)
                events -> {
                  second.countDown();
                  throw new AssertionError("on purpose");
                },
            false));
    assertThrows(CacheEntryListenerException.class, () -> cache.put("k", 1));
    assertThrows(CacheEntryListenerException.class, () -> cache.put("l", 2));
    assertEquals(List.of("CREATED k null 1", "CREATED l null 2"), recorder.events);
    assertTrue(second.await(20, TimeUnit.SECONDS));
  }

  @Test
  void aListenerThatCannotBeMadeIsNotRegistered() {
    Cache<String, Integer> cache = manager.createCache("c", new MutableConfiguration<>());
    Recorder recorder = new Recorder();
    boolean[] broken = {true};
    var configuration =
        new MutableCacheEntryListenerConfiguration<String, Integer>(
            () -> recorder,
            () -> {
              if (broken[0]) {
                throw new IllegalStateException("on purpose");
              }
              return event -> true;
            },
            true,
            true);
    assertThrows(
        IllegalStateException.class, () -> cache.registerCacheEntryListener(configuration));
    assertEquals(0, recorder.closed.getCount());
    broken[0] = false;
    cache.registerCacheEntryListener(configuration);
    cache.put("k", 1);
    assertEquals(List.of("CREATED k null 1"), recorder.events);
  }
}
