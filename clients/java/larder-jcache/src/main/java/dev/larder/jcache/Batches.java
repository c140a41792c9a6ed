package dev.larder.jcache;

import dev.larder.client.Key;
import dev.larder.client.ListedKey;
import dev.larder.jcache.Storage.Id;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import javax.cache.CacheException;
import javax.cache.integration.CacheWriterException;
import javax.cache.integration.CompletionListener;

/** Changes of many entries, each by itself. */
final class Batches<K, V> {
  private static final int LOADERS = 4;
  private static final int QUEUED = 1000;
  private static final int PART = 1000;
  private static final String CLOSED = "the cache was closed before it has loaded";
  private static final System.Logger LOGGER = System.getLogger("dev.larder.jcache");

  private final Entries<K, V> entries;
  private final ThreadPoolExecutor loaders;

  Batches(Entries<K, V> entries) {
    this.entries = entries;
    loaders =
        new ThreadPoolExecutor(
            LOADERS,
            LOADERS,
            10,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(QUEUED),
            action -> {
              Thread made = new Thread(action, "larder-jcache-loader");
              made.setDaemon(true);
              return made;
            });
    loaders.allowCoreThreadTimeOut(true);
  }

  /** A load in the background. */
  private record Load(Runnable work, CompletionListener listener) implements Runnable {
    @Override
    public void run() {
      try {
        work.run();
      } catch (Throwable error) {
        // A loader may throw what it likes, and the program waits for its listener.
        fail(error);
        return;
      }
      call(CompletionListener::onCompletion);
    }

    void fail(Throwable error) {
      if (listener == null) {
        LOGGER.log(System.Logger.Level.WARNING, "entries are not loaded: " + error, error);
        return;
      }
      Exception seen = error instanceof CacheException own ? own : new CacheException(error);
      call(waiting -> waiting.onException(seen));
    }

    private void call(Consumer<CompletionListener> completion) {
      try {
        if (listener != null) {
          completion.accept(listener);
        }
      } catch (RuntimeException error) {
        LOGGER.log(System.Logger.Level.WARNING, "a completion listener fails: " + error, error);
      }
    }
  }

  /** Loads in the background. The error is that of the completion listener. */
  void load(Runnable work, CompletionListener listener) {
    Load load = new Load(work, listener);
    try {
      loaders.execute(load);
    } catch (RejectedExecutionException refused) {
      String why = loaders.isShutdown() ? CLOSED : "too many loads wait in this cache";
      load.fail(new CacheException(why, refused));
    }
  }

  /** Stores values. What the writer refuses is not stored. */
  void putAll(Map<Id<K>, V> values) {
    if (entries.writing == null || values.isEmpty()) {
      store(values);
      return;
    }
    entries.locked(values.keySet(), () -> writeAll(values));
  }

  private void writeAll(Map<Id<K>, V> values) {
    Map<K, V> byKey = new LinkedHashMap<>();
    values.forEach((id, value) -> byKey.put(id.key(), value));
    Writing.Outcome<K> outcome = entries.writing.writeAll(byKey);
    CacheWriterException refused = outcome.error();
    Map<Id<K>, V> written = values;
    if (refused != null) {
      Set<K> done = new HashSet<>(outcome.done());
      written = new LinkedHashMap<>(values);
      written.keySet().removeIf(id -> !done.contains(id.key()));
    }
    after(refused, written, this::store);
  }

  /** Does to the entries what the writer has done, and throws its error. */
  private static <T> void after(CacheWriterException refused, T done, Consumer<T> change) {
    try {
      change.accept(done);
    } catch (CacheException error) {
      if (refused == null) {
        throw error;
      }
      refused.addSuppressed(error);
    }
    if (refused != null) {
      throw refused;
    }
  }

  private void store(Map<Id<K>, V> values) {
    if (values.isEmpty()) {
      return;
    }
    if (entries.isBlind()) {
      entries.store(values, System.nanoTime());
    } else {
      values.forEach(entries::putWritten);
    }
  }

  /** Removes entries. What the writer refuses stays. */
  void removeAll(List<Id<K>> ids) {
    if (entries.writing == null || ids.isEmpty()) {
      remove(ids);
      return;
    }
    entries.locked(
        ids,
        () -> {
          Writing.Outcome<K> outcome =
              entries.writing.deleteAll(ids.stream().map(Id::key).toList());
          CacheWriterException refused = outcome.error();
          List<Id<K>> deleted = ids;
          if (refused != null) {
            Set<K> done = new HashSet<>(outcome.done());
            deleted = ids.stream().filter(id -> done.contains(id.key())).toList();
          }
          after(refused, deleted, this::remove);
        });
  }

  private void remove(List<Id<K>> ids) {
    if (entries.listeners.isEmpty()) {
      delete(ids.stream().map(Id::address).toList(), System.nanoTime());
    } else {
      ids.forEach(entries::removeDeleted);
    }
  }

  private void delete(List<Key> addresses, long since) {
    if (addresses.isEmpty()) {
      return;
    }
    entries.storage.deleteAll(addresses).values().stream()
        .filter(existed -> existed)
        .forEach(existed -> entries.statistics.removal(since));
  }

  /** Removes all entries, of which nothing but the names is read. */
  void removeListed() {
    long since = System.nanoTime();
    Iterator<ListedKey> names = entries.storage.list();
    List<Key> part = new ArrayList<>();
    while (Storage.call(names::hasNext)) {
      part.add(Key.of(names.next().key()));
      if (part.size() == PART) {
        delete(part, since);
        part.clear();
      }
    }
    delete(part, since);
  }

  /** Interrupts the loads that run; those that wait fail. */
  void close() {
    loaders
        .shutdownNow()
        .forEach(waiting -> ((Load) waiting).fail(new CacheException(CLOSED)));
  }
}
