package dev.larder.jcache;

import dev.larder.client.Key;
import dev.larder.client.Result;
import dev.larder.jcache.Loading.Read;
import dev.larder.jcache.Storage.Id;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads of a cache; {@code loading} null: there is no read-through. */
final class Reading {
  private Reading() {}

  static <K, V> V get(Entries<K, V> entries, Loading<K, V> loading, Id<K> id) {
    long since = System.nanoTime();
    Read<V> read = loading != null ? loading.get(id) : read(entries, id);
    count(entries, id, read, since);
    return read.value();
  }

  private static <K, V> void count(Entries<K, V> entries, Id<K> id, Read<V> read, long since) {
    entries.statistics.read(read.hit(), since);
    if (read.hit()) {
      entries.accessed(id);
    }
  }

  private static <K, V> Read<V> read(Entries<K, V> entries, Id<K> id) {
    return of(entries, id, entries.storage.get(id));
  }

  private static <K, V> Read<V> of(Entries<K, V> entries, Id<K> id, Result<Stored> result) {
    V value = entries.storage.valueOf(id, result);
    return new Read<>(value, value != null);
  }

  /** The values of the keys that have one. */
  static <K, V> Map<K, V> getAll(
      Entries<K, V> entries, Loading<K, V> loading, List<Id<K>> ids) {
    if (ids.isEmpty()) {
      return Map.of();
    }
    long since = System.nanoTime();
    Map<K, Read<V>> reads = new LinkedHashMap<>();
    if (loading != null) {
      reads.putAll(loading.getAll(ids));
    } else {
      Map<Key, Result<Stored>> results = entries.storage.getAll(ids);
      ids.forEach(id -> reads.put(id.key(), of(entries, id, results.get(id.address()))));
    }
    Map<K, V> found = new LinkedHashMap<>();
    for (Id<K> id : ids) {
      Read<V> read = reads.get(id.key());
      count(entries, id, read, since);
      if (read.value() != null) {
        found.put(id.key(), read.value());
      }
    }
    return found;
  }
}
