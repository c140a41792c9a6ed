package dev.larder.jcache;

import dev.larder.client.Key;
import dev.larder.client.ListedKey;
import dev.larder.jcache.Storage.Id;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import javax.cache.CacheException;
import javax.cache.integration.CacheWriterException;
import javax.cache.integration.CompletionListener;

/** Changes of many entries, each by itself. */
final class Batches<K, V> {
  private static final int LOADERS = 4;
  private static final int QUEUED = 1000;
  private static final int PART = 1000;

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

  /** Loads in the background. The error is that of the completion listener. */
  void load(Runnable work, CompletionListener listener) {
    try {
      loaders.execute(() -> run(work, listener));
    } catch (RejectedExecutionException full) {
      fail(listener, new CacheException("too many loads wait in this cache", full));
    }
  }

  private static void run(Runnable work, CompletionListener listener) {
    try {
      work.run();
    } catch (RuntimeException error) {
      fail(listener, error);
      return;
    }
    if (listener != null) {
      listener.onCompletion();
    }
  }

  private static void fail(CompletionListener listener, RuntimeException error) {
    if (listener != null) {
      listener.onException(
          error instanceof CacheException ? error : new CacheException(error));
    }
  }

  /** Stores values. What the writer refuses is not stored. */
  void putAll(Map<Id<K>, V> values) {
    long since = System.nanoTime();
    Map<Id<K>, V> written = values;
    CacheWriterException refused = null;
    if (entries.writing != null && !values.isEmpty()) {
      Map<K, V> byKey = new LinkedHashMap<>();
      values.forEach((id, value) -> byKey.put(id.key(), value));
      Writing.Outcome<K> outcome = entries.writing.writeAll(byKey);
      refused = outcome.error();
      if (refused != null) {
        written = new LinkedHashMap<>(values);
        written.keySet().removeIf(id -> !outcome.done().contains(id.key()));
      }
    }
    try {
      store(written, since);
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

  private void store(Map<Id<K>, V> values, long since) {
    if (values.isEmpty()) {
      return;
    }
    if (!entries.isBlind()) {
      values.forEach(entries::putWritten);
      return;
    }
    Duration ttl = entries.expiry.creation();
    Map<Key, Stored> stored = new LinkedHashMap<>();
    values.forEach((id, value) -> stored.put(id.address(), entries.storage.stored(id, value)));
    entries.storage.setAll(stored, ttl);
    if (!ttl.isZero()) {
      values.forEach((id, value) -> entries.statistics.put(since));
    }
  }

  /** Removes entries. What the writer refuses stays. */
  void removeAll(List<Id<K>> ids) {
    long since = System.nanoTime();
    List<Id<K>> deleted = ids;
    CacheWriterException refused = null;
    if (entries.writing != null && !ids.isEmpty()) {
      Writing.Outcome<K> outcome = entries.writing.deleteAll(ids.stream().map(Id::key).toList());
      refused = outcome.error();
      if (refused != null) {
        deleted = new ArrayList<>(ids);
        deleted.removeIf(id -> !outcome.done().contains(id.key()));
      }
    }
    if (entries.listeners.isEmpty()) {
      delete(deleted.stream().map(Id::address).toList(), since);
    } else {
      deleted.forEach(entries::removeDeleted);
    }
    if (refused != null) {
      throw refused;
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

  void close() {
    loaders.shutdownNow();
  }
}
