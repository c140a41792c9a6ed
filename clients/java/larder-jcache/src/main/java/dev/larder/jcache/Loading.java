package dev.larder.jcache;

import dev.larder.client.FetchOptions;
import dev.larder.client.Key;
import dev.larder.client.LoadContext;
import dev.larder.client.Result;
import dev.larder.client.Tier;
import dev.larder.jcache.Entries.Action;
import dev.larder.jcache.Entries.Step;
import dev.larder.jcache.Storage.Id;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.cache.integration.CacheLoader;
import javax.cache.integration.CacheLoaderException;

/**
 * The loader of a cache. A read that misses takes a lease, so that one process at a time loads a
 * value.
 */
final class Loading<K, V> {
  private static final FetchOptions OPTIONS = FetchOptions.DEFAULTS.read(Storage.FRESH);

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

  /** A value, and whether it was in the cache. */
  record Read<V>(V value, boolean hit) {}

  /** Reads an entry; one that is missing is loaded. */
  Read<V> get(Id<K> id) {
    Result<Stored> result =
        Storage.call(
            () ->
                entries.storage.open.getOrFetch(
                    id.address(), context -> stored(context, id, load(id.key())), OPTIONS));
    return read(id, result);
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
    return new Read<>(value, value != null && !loaded);
  }

  /** Reads entries; those that are missing are loaded together. */
  Map<K, Read<V>> getAll(Collection<Id<K>> ids) {
    Map<Key, Id<K>> byAddress = new LinkedHashMap<>();
    ids.forEach(id -> byAddress.put(id.address(), id));
    Map<Key, Result<Stored>> results =
        Storage.call(
            () ->
                entries.storage.open.getOrFetchMany(
                    byAddress.keySet(),
                    (missing, context) -> load(missing, byAddress, context),
                    OPTIONS));
    Map<K, Read<V>> reads = new LinkedHashMap<>();
    results.forEach(
        (address, result) -> {
          Id<K> id = byAddress.get(address);
          reads.put(id.key(), read(id, result));
        });
    return reads;
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

  /** Loads values and stores them, without the writer. */
  void loadAll(Collection<Id<K>> ids, boolean replace) {
    Map<K, Id<K>> wanted = new LinkedHashMap<>();
    Map<Key, Result<Stored>> present = replace ? Map.of() : entries.storage.readAll(ids);
    for (Id<K> id : ids) {
      if (!(present.get(id.address()) instanceof Result.Hit<Stored>)) {
        wanted.put(id.key(), id);
      }
    }
    if (wanted.isEmpty()) {
      return;
    }
    loadAll(List.copyOf(wanted.keySet()))
        .forEach(
            (key, value) -> {
              Id<K> id = wanted.get(key);
              if (id != null && value != null) {
                store(id, value, replace);
              }
            });
  }

  private void store(Id<K> id, V value, boolean replace) {
    entries.change(
        id,
        seen -> {
          if (!seen.exists()) {
            return new Step<>(Action.LOAD, value, null);
          }
          return replace ? new Step<>(Action.RELOAD, value, null) : Step.nothing(null);
        });
  }
}
