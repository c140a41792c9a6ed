package dev.larder.jcache;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import javax.cache.Cache;
import javax.cache.configuration.CacheEntryListenerConfiguration;
import javax.cache.event.CacheEntryCreatedListener;
import javax.cache.event.CacheEntryEvent;
import javax.cache.event.CacheEntryEventFilter;
import javax.cache.event.CacheEntryExpiredListener;
import javax.cache.event.CacheEntryListener;
import javax.cache.event.CacheEntryListenerException;
import javax.cache.event.CacheEntryRemovedListener;
import javax.cache.event.CacheEntryUpdatedListener;
import javax.cache.event.EventType;

/**
 * The listeners of a cache. They receive what this process does, in the order of each key. The
 * asynchronous ones run in one thread, which ends when it is idle.
 */
final class Listeners<K, V> {
  /**
   * Events that wait for asynchronous listeners. Above that, callers wait; the thread of a listener
   * does not, as it may wait for itself, and has as many events again.
   */
  private static final int QUEUED = 10_000;

  private static final long CLOSE_SECONDS = 1;
  private static final System.Logger LOGGER = System.getLogger("dev.larder.jcache");

  private final List<Registered<K, V>> registered = new CopyOnWriteArrayList<>();
  private final Cache<K, V> cache;
  private final ThreadPoolExecutor thread;
  private final Semaphore room = new Semaphore(QUEUED, true);

  Listeners(Cache<K, V> cache) {
    this.cache = cache;
    thread =
        new ThreadPoolExecutor(
            1,
            1,
            10,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(2 * QUEUED),
            ListenerThread::new);
    thread.allowCoreThreadTimeOut(true);
  }

  private static final class ListenerThread extends Thread {
    ListenerThread(Runnable action) {
      super(action, "larder-jcache-listeners");
      setDaemon(true);
    }
  }

  private void later(Runnable action) {
    boolean counted = enter();
    try {
      thread.execute(
          () -> {
            if (counted) {
              room.release();
            }
            action.run();
          });
    } catch (RejectedExecutionException full) {
      if (counted) {
        room.release();
      }
      if (!thread.isShutdown()) {
        throw new RejectedExecutionException("listeners cause more events than they take", full);
      }
    }
  }

  /** Waits for room. False: the event takes none. */
  private boolean enter() {
    if (Thread.currentThread() instanceof ListenerThread) {
      return false;
    }
    try {
      while (!thread.isShutdown()) {
        if (room.tryAcquire(1, TimeUnit.SECONDS)) {
          return true;
        }
      }
      return false;
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new RejectedExecutionException("interrupted while listeners are late", error);
    }
  }

  private record Registered<K, V>(
      CacheEntryListenerConfiguration<K, V> configuration,
      CacheEntryListener<? super K, ? super V> listener,
      CacheEntryEventFilter<? super K, ? super V> filter) {}

  private static final class Event<K, V> extends CacheEntryEvent<K, V> {
    private static final long serialVersionUID = 1L;

    private final transient K key;
    private final transient V value;
    private final transient V oldValue;

    Event(Cache<K, V> cache, EventType type, K key, V value, V oldValue) {
      super(cache, type);
      this.key = key;
      this.value = value;
      this.oldValue = oldValue;
    }

    @Override
    public K getKey() {
      return key;
    }

    @Override
    public V getValue() {
      return value;
    }

    @Override
    public V getOldValue() {
      return oldValue;
    }

    @Override
    public boolean isOldValueAvailable() {
      return oldValue != null;
    }

    @Override
    public <T> T unwrap(Class<T> type) {
      if (type.isInstance(this)) {
        return type.cast(this);
      }
      throw new IllegalArgumentException("an event is no " + type.getName());
    }
  }

  boolean isEmpty() {
    return registered.isEmpty();
  }

  void add(CacheEntryListenerConfiguration<K, V> configuration) {
    var factory = configuration.getCacheEntryEventFilterFactory();
    var listener = configuration.getCacheEntryListenerFactory().create();
    try {
      registered.add(
          new Registered<>(configuration, listener, factory == null ? null : factory.create()));
    } catch (RuntimeException | Error error) {
      Closing.close(listener);
      throw error;
    }
  }

  void remove(CacheEntryListenerConfiguration<K, V> configuration) {
    registered.forEach(
        each -> {
          if (each.configuration().equals(configuration)) {
            registered.remove(each);
            Closing.close(each.listener());
            Closing.close(each.filter());
          }
        });
  }

  /** An entry has come into being. */
  void created(K key, V value) {
    fire(EventType.CREATED, key, value, null);
  }

  void updated(K key, V value, V old) {
    fire(EventType.UPDATED, key, value, old);
  }

  /** An entry was removed; the value of the event is the last one, if old values are required. */
  void removed(K key, V old) {
    fire(EventType.REMOVED, key, null, old);
  }

  void expired(K key, V old) {
    fire(EventType.EXPIRED, key, null, old);
  }

  private void fire(EventType type, K key, V value, V old) {
    RuntimeException failure = null;
    for (Registered<K, V> each : registered) {
      V shown = each.configuration().isOldValueRequired() ? old : null;
      Event<K, V> event = new Event<>(cache, type, key, value == null ? shown : value, shown);
      try {
        if (each.configuration().isSynchronous()) {
          deliver(each, event);
        } else {
          later(() -> deliverLater(each, event));
        }
      } catch (RuntimeException error) {
        // The other listeners receive the event all the same.
        failure = failure == null ? error : failure;
      }
    }
    if (failure != null) {
      throw failure;
    }
  }

  private static <K, V> void deliverLater(Registered<K, V> to, Event<K, V> event) {
    try {
      deliver(to, event);
    } catch (Throwable error) {
      // The thread delivers the events of other listeners, too.
      LOGGER.log(System.Logger.Level.WARNING, "a listener of a cache fails: " + error, error);
    }
  }

  private static <K, V> void deliver(Registered<K, V> to, Event<K, V> event) {
    try {
      if (to.filter() == null || to.filter().evaluate(event)) {
        call(to.listener(), event);
      }
    } catch (CacheEntryListenerException error) {
      throw error;
    } catch (RuntimeException error) {
      throw new CacheEntryListenerException("a listener of a cache fails: " + error, error);
    }
  }

  @SuppressWarnings("unchecked") // A listener of super types takes events of the types.
  private static <K, V> void call(
      CacheEntryListener<? super K, ? super V> listener, Event<K, V> event) {
    List<CacheEntryEvent<? extends K, ? extends V>> events = List.of(event);
    switch (event.getEventType()) {
      case CREATED -> {
        if (listener instanceof CacheEntryCreatedListener<?, ?> created) {
          ((CacheEntryCreatedListener<K, V>) created).onCreated(events);
        }
      }
      case UPDATED -> {
        if (listener instanceof CacheEntryUpdatedListener<?, ?> updated) {
          ((CacheEntryUpdatedListener<K, V>) updated).onUpdated(events);
        }
      }
      case REMOVED -> {
        if (listener instanceof CacheEntryRemovedListener<?, ?> removed) {
          ((CacheEntryRemovedListener<K, V>) removed).onRemoved(events);
        }
      }
      case EXPIRED -> {
        if (listener instanceof CacheEntryExpiredListener<?, ?> expired) {
          ((CacheEntryExpiredListener<K, V>) expired).onExpired(events);
        }
      }
    }
  }

  /** Delivers what waits, for a second at most, and closes the listeners. */
  void close() {
    thread.shutdown();
    try {
      if (!thread.awaitTermination(CLOSE_SECONDS, TimeUnit.SECONDS)) {
        thread.shutdownNow();
      }
    } catch (InterruptedException error) {
      thread.shutdownNow();
      Thread.currentThread().interrupt();
    }
    for (Registered<K, V> each : registered) {
      Closing.close(each.listener());
      Closing.close(each.filter());
    }
    registered.clear();
  }
}
