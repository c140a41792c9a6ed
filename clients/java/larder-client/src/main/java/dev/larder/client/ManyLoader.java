package dev.larder.client;

import java.util.List;
import java.util.Map;

/**
 * Computes several missing values.
 *
 * @param <K> type of the keys: String or {@link Key}
 */
@FunctionalInterface
public interface ManyLoader<K, V, X extends Exception> {
  /** Returns values by key. A key without a value stays a miss. */
  Map<K, ? extends V> load(List<K> keys, LoadContext context) throws X;
}
