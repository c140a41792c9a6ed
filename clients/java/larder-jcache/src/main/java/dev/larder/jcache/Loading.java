package dev.larder.jcache;

import dev.larder.client.FetchOptions;
import dev.larder.client.Key;
import dev.larder.client.LoadContext;
import dev.larder.client.Namespace;
import dev.larder.client.Result;
import dev.larder.client.Tier;
import dev.larder.client.WriteResult.NotStored;
import dev.larder.jcache.Storage.Id;
import dev.larder.jcache.Storage.Seen;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.cache.CacheException;
import javax.cache.integration.CacheLoader;
import javax.cache.integration.CacheLoaderException;

/**
 * The loader of a cache. A read that misses takes a lease, so that one process at a time loads a
 * value.
 */
final class Loading<K, V> {
  private static final FetchOptions OPTIONS = FetchOptions.DEFAULTS.read(Storage.FRESH);
  private static final FetchOptions REFRESHING = OPTIONS.refresh(true);

  private final Entries<K, V> entries;
  private final CacheLoader<K, V> loader;

  Loading(Entries<K, V> entries, CacheLoader<K, V> loader) {
    this.entries = entries;
    this.loader = loader;
  }

  CacheLoader<K, V> loader() {
    return loader;
  }

  /** A call of a loader. */
  @FunctionalInterface
  private interface Source<R> {
    R load() throws Exception;
  }

  private static <R> R call(Source<R> source) {
    try {
      return source.load();
    } catch (CacheLoaderException error) {
      throw error;
    } catch (Exception error) {
      // A loader may throw what it likes.
      throw new CacheLoaderException("the loader of the cache fails: " + error, error);
    }
  }

  /** The value of the loader alone; null: it has none. */
  V load(K key) {
    return call(() -> loader.load(key));
  }

  /**
   * A value, and whether it was in the cache.
   *
   * @param unreadable there is an entry with a value that cannot be read, as of an older class
   */
  record Read<V>(V value, boolean hit, boolean unreadable) {
    Read(V value, boolean hit) {
      this(value, hit, false);
    }
  }

  /** Reads an entry; one that is missing, or cannot be read, is loaded. */
  Read<V> get(Id<K> id) {
    Result<Stored> result = fetch(id);
    Read<V> first = read(id, result);
    if (!first.unreadable()) {
      return first;
    }
    // Without the entry, calls of all processes share one load.
    entries.storage.discard(id, result);
    Read<V> second = read(id, fetch(id));
    // Another release has stored such a value again.
    return second.unreadable() ? new Read<>(load(id.key()), false) : second;
  }

  private Result<Stored> fetch(Id<K> id) {
    return Storage.call(
        () ->
            entries.storage.open.getOrFetch(
                id.address(), context -> stored(context, id, load(id.key())), OPTIONS));
  }

  /** The entry of a value that was loaded; null: there is none to store. */
  private Stored stored(LoadContext context, Id<K> id, V value) {
    if (value == null) {
      context.doNotStore();
      return null;
    }
    Duration ttl = entries.expiry.creation();
    if (ttl.isZero()) {
      // It has expired already, so that the read has no value.
      context.doNotStore();
      return null;
    }
    context.ttl(ttl);
    return entries.storage.stored(id, value);
  }

  private Read<V> read(Id<K> id, Result<Stored> result) {
    V value = entries.storage.valueOf(id, result);
    boolean loaded = result.tier().filter(Tier.LOADER::equals).isPresent();
    if (loaded && value != null && !result.joined()
        && result.stored().filter(stored -> stored.stored()).isPresent()) {
      entries.listeners.created(id.key(), value);
    }
    boolean unreadable = value == null && !loaded && result.value() != null;
    return new Read<>(value, value != null && !loaded, unreadable);
  }

  /** Reads entries; those that are missing, or cannot be read, are loaded together. */
  Map<K, Read<V>> getAll(Collection<Id<K>> ids) {
    Map<K, Read<V>> reads = new LinkedHashMap<>();
    List<Id<K>> unreadable = new ArrayList<>();
    fetch(entries.storage.open, ids, OPTIONS)
        .forEach(
            (id, result) -> {
              Read<V> read = read(id, result);
              reads.put(id.key(), read);
              if (read.unreadable()) {
                unreadable.add(id);
              }
            });
    if (!unreadable.isEmpty()) {
      fetch(entries.storage.open, unreadable, REFRESHING)
          .forEach((id, result) -> reads.put(id.key(), read(id, result)));
    }
    return reads;
  }

  private Map<Id<K>, Result<Stored>> fetch(
      Namespace<Stored> namespace, Collection<Id<K>> ids, FetchOptions options) {
    Map<Key, Id<K>> byAddress = new LinkedHashMap<>();
    ids.forEach(id -> byAddress.put(id.address(), id));
    Map<Id<K>, Result<Stored>> results = new LinkedHashMap<>();
    Storage.call(
            () ->
                namespace.getOrFetchMany(
                    byAddress.keySet(),
                    (missing, context) -> load(missing, byAddress, context),
                    options))
        .forEach((address, result) -> results.put(byAddress.get(address), result));
    return results;
  }

  private Map<Key, Stored> load(
      List<Key> missing, Map<Key, Id<K>> byAddress, LoadContext context) {
    List<K> keys = new ArrayList<>();
    missing.forEach(address -> keys.add(byAddress.get(address).key()));
    Map<K, V> loaded = loadAll(keys);
    Map<Key, Stored> stored = new HashMap<>();
    for (Key address : missing) {
      Id<K> id = byAddress.get(address);
      V value = loaded.get(id.key());
      Stored entry = value == null ? null : stored(context, id, value);
      if (entry != null) {
        stored.put(address, entry);
      }
    }
    return stored;
  }

  /** The values of the loader; keys without a value are left out. */
  Map<K, V> loadAll(Collection<K> keys) {
    Map<K, V> loaded = call(() -> loader.loadAll(keys));
    if (loaded == null) {
      throw new CacheLoaderException("the loader of the cache fails: loadAll has returned null");
    }
    return loaded;
  }

  /**
   * Loads values and stores them, without the writer. A value that the entry has got since the load
   * began stays: it is newer than the one that was loaded.
   *
   * @throws CacheException if a value cannot be stored
   */
  void loadAll(Collection<Id<K>> ids, boolean replace) {
    Map<K, Id<K>> present = new LinkedHashMap<>();
    List<Id<K>> absent = new ArrayList<>();
    List<Id<K>> fresh = new ArrayList<>();
    Map<Id<K>, Seen<V>> seen = entries.storage.readAll(ids);
    seen.forEach(
        (id, entry) -> {
          if (entry.exists()) {
            present.put(id.key(), id);
          } else if (replace || entry.unreadable()) {
            // A load that another process has begun before is none that follows this call.
            fresh.add(id);
          } else {
            absent.add(id);
          }
        });
    if (replace && !present.isEmpty()) {
      loadAll(List.copyOf(present.keySet()))
          .forEach(
              (key, value) -> {
                Id<K> id = present.get(key);
                if (id != null
                    && value != null
                    && !entries.reload(id, seen.get(id), value)) {
                  absent.add(id);
                }
              });
    }
    store(absent, OPTIONS);
    store(fresh, REFRESHING);
  }

  /** Loads values under leases, so that none is stored that was loaded before a change. */
  private void store(Collection<Id<K>> ids, FetchOptions options) {
    if (ids.isEmpty()) {
      return;
    }
    CacheException[] failure = new CacheException[1];
    fetch(entries.storage.strict, ids, options)
        .forEach(
            (id, result) -> {
              read(id, result);
              if (result.stored().orElse(null) instanceof NotStored refused
                  && (refused.degraded() || refused.error() != null)) {
                failure[0] = new Storage.Away(refused.error());
              }
            });
    if (failure[0] != null) {
      throw failure[0];
    }
  }
}
