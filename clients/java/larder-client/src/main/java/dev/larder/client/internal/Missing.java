package dev.larder.client.internal;

import dev.larder.client.Result;
import dev.larder.client.WriteResult.NotStored;

/**
 * A key of getOrFetchMany that is missing: its lease, or why its value is not stored. The stale
 * value is a substitute if the loader fails, or, with {@code meanwhile}, the answer.
 */
record Missing<K, V>(
    K key, HeldLease<V> lease, NotStored why, Result<V> stale, boolean meanwhile) {}
