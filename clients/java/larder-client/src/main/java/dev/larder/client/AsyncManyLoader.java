package dev.larder.client;

import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionStage;

/** Computes several missing values without a thread that waits for them. */
@FunctionalInterface
public interface AsyncManyLoader<K, V> {
  /** Begins the computation. It must not block. A key without a value stays a miss. */
  CompletionStage<? extends Map<K, ? extends V>> load(List<K> keys, LoadContext context);
}
