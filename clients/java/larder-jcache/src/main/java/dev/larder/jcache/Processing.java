package dev.larder.jcache;

import dev.larder.jcache.Storage.Id;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.cache.processor.EntryProcessor;
import javax.cache.processor.EntryProcessorException;
import javax.cache.processor.EntryProcessorResult;

/** Runs entry processors. */
final class Processing {
  private Processing() {}

  /** Changes an entry as a processor does; {@code loading} null: there is no read-through. */
  static <K, V, T> T invoke(
      Entries<K, V> entries,
      Loading<K, V> loading,
      Id<K> id,
      EntryProcessor<K, V, T> processor,
      Object... arguments) {
    long since = System.nanoTime();
    boolean[] present = new boolean[1];
    T result =
        entries.change(
            id,
            seen -> {
              present[0] = seen.exists();
              ProcessorEntry<K, V> entry = new ProcessorEntry<>(id.key(), seen, loading);
              return entry.step(process(processor, entry, arguments));
            });
    entries.statistics.read(present[0], since);
    return result;
  }

  private static <K, V, T> T process(
      EntryProcessor<K, V, T> processor, ProcessorEntry<K, V> entry, Object... arguments) {
    try {
      return processor.process(entry, arguments);
    } catch (EntryProcessorException error) {
      throw error;
    } catch (RuntimeException error) {
      throw new EntryProcessorException(error);
    }
  }

  /** Changes entries one by one. The result of a processor that fails throws its error. */
  static <K, V, T> Map<K, EntryProcessorResult<T>> invokeAll(
      Entries<K, V> entries,
      Loading<K, V> loading,
      List<Id<K>> ids,
      EntryProcessor<K, V, T> processor,
      Object... arguments) {
    Map<K, EntryProcessorResult<T>> results = new LinkedHashMap<>();
    for (Id<K> id : ids) {
      try {
        T result = invoke(entries, loading, id, processor, arguments);
        if (result != null) {
          results.put(id.key(), () -> result);
        }
      } catch (EntryProcessorException error) {
        results.put(
            id.key(),
            () -> {
              throw error;
            });
      }
    }
    return results;
  }
}
