package dev.larder.jcache;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.cache.Cache;
import javax.cache.integration.CacheWriter;
import javax.cache.integration.CacheWriterException;

/** The writer of a cache that writes through. Its errors are {@link CacheWriterException}s. */
final class Writing<K, V> {
  private final CacheWriter<? super K, ? super V> writer;

  Writing(CacheWriter<? super K, ? super V> writer) {
    this.writer = writer;
  }

  CacheWriter<? super K, ? super V> writer() {
    return writer;
  }

  private static void call(Runnable action) {
    try {
      action.run();
    } catch (CacheWriterException error) {
      throw error;
    } catch (RuntimeException error) {
      throw new CacheWriterException("the writer of the cache fails: " + error, error);
    }
  }

  void write(K key, V value) {
    call(() -> writer.write(new CacheEntry<>(key, value)));
  }

  void delete(K key) {
    call(() -> writer.delete(key));
  }

  /** The error of a writer that has written a part, and the keys of that part. */
  record Outcome<K>(List<K> done, CacheWriterException error) {}

  /** Writes entries. The writer takes those that are written out of the collection. */
  Outcome<K> writeAll(Map<? extends K, ? extends V> values) {
    Collection<Cache.Entry<? extends K, ? extends V>> left = new ArrayList<>();
    values.forEach((key, value) -> left.add(new CacheEntry<K, V>(key, value)));
    CacheWriterException error = null;
    try {
      call(() -> writer.writeAll(cast(left)));
      left.clear();
    } catch (CacheWriterException failure) {
      error = failure;
    }
    Set<K> kept = new HashSet<>();
    left.forEach(entry -> kept.add(entry.getKey()));
    List<K> done = new ArrayList<>(values.keySet());
    done.removeIf(kept::contains);
    return new Outcome<>(done, error);
  }

  @SuppressWarnings({"unchecked", "rawtypes"}) // A writer of super types takes such entries.
  private static <K, V> Collection<Cache.Entry<? extends K, ? extends V>> cast(
      Collection<?> entries) {
    return (Collection) entries;
  }

  /** Deletes entries. The writer takes those that are deleted out of the collection. */
  Outcome<K> deleteAll(Collection<? extends K> keys) {
    Collection<K> left = new ArrayList<>(keys);
    CacheWriterException error = null;
    try {
      call(() -> writer.deleteAll(left));
      left.clear();
    } catch (CacheWriterException failure) {
      error = failure;
    }
    Set<K> kept = new HashSet<>(left);
    List<K> done = new ArrayList<>(keys);
    done.removeIf(kept::contains);
    return new Outcome<>(done, error);
  }
}
