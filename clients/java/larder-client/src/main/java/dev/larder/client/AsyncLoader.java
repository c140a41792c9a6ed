package dev.larder.client;

import java.util.concurrent.CompletionStage;

/** Computes a missing value without a thread that waits for it. */
@FunctionalInterface
public interface AsyncLoader<V> {
  /** Begins the computation. It must not block. {@code context} decides how it is cached. */
  CompletionStage<? extends V> load(LoadContext context);
}
