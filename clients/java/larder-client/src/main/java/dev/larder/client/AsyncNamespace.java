package dev.larder.client;

import dev.larder.client.internal.Load;
import dev.larder.client.internal.Operations;
import dev.larder.client.internal.Views;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * The calls of a {@link Namespace} with futures. To cancel a future cancels its call. Futures are
 * completed in threads of the client, which must not be blocked. Arguments that are wrong are
 * thrown at once. After the client is closed, the futures have the error.
 */
public final class AsyncNamespace<V> {
  private final String name;
  private final Operations<V> operations;

  AsyncNamespace(String name, Operations<V> operations) {
    this.name = name;
    this.operations = operations;
  }

  /** The name as it was given. */
  public String name() {
    return name;
  }

  /** Reads one entry. Without the cache it is a miss. */
  public CompletableFuture<Result<V>> get(Key key, ReadOptions options) {
    return Views.async(operations.call(null), call -> operations.get(call, key, options));
  }

  /** Reads one entry. Without the cache it is a miss. */
  public CompletableFuture<Result<V>> get(String key) {
    return get(Key.of(key), ReadOptions.DEFAULTS);
  }

  /** Reads one entry. Without the cache it is a miss. */
  public CompletableFuture<Result<V>> get(Key key) {
    return get(key, ReadOptions.DEFAULTS);
  }

  /**
   * Reads several entries. The map has a result for each key, in their order.
   *
   * @param keys of the type String or {@link Key}
   */
  public <K> CompletableFuture<Map<K, Result<V>>> getMany(Iterable<K> keys, ReadOptions options) {
    return Views.async(operations.call(null), call -> operations.getMany(call, keys, options));
  }

  /** Reads several entries. */
  public <K> CompletableFuture<Map<K, Result<V>>> getMany(Iterable<K> keys) {
    return getMany(keys, ReadOptions.DEFAULTS);
  }

  /** Whether {@code get} would find a value. The value is not transferred. */
  public CompletableFuture<Boolean> has(Key key, ReadOptions options) {
    return Views.async(operations.call(null), call -> operations.has(call, key, options));
  }

  /** Whether {@code get} would find a value. The value is not transferred. */
  public CompletableFuture<Boolean> has(String key) {
    return has(Key.of(key), ReadOptions.DEFAULTS);
  }

  /**
   * Stores one value.
   *
   * @throws EncodeException at once, if the codec cannot send the value
   */
  public CompletableFuture<WriteResult> set(Key key, V value, WriteOptions options) {
    return Views.async(operations.call(null),
        call -> operations.set(call, key, value, options));
  }

  /** Stores one value. */
  public CompletableFuture<WriteResult> set(String key, V value, WriteOptions options) {
    return set(Key.of(key), value, options);
  }

  /** Stores one value with the TTL of the handle, else of the server. */
  public CompletableFuture<WriteResult> set(String key, V value) {
    return set(Key.of(key), value, WriteOptions.DEFAULTS);
  }

  /** Stores several values, each with a result of its own. It is not atomic. */
  public <K> CompletableFuture<Map<K, WriteResult>> setMany(
      Map<K, ? extends V> values, WriteOptions options) {
    return Views.async(operations.call(null),
        call -> operations.setMany(call, values, options));
  }

  /** Stores several values, each with a result of its own. It is not atomic. */
  public <K> CompletableFuture<Map<K, WriteResult>> setMany(Map<K, ? extends V> values) {
    return setMany(values, WriteOptions.DEFAULTS);
  }

  /** Gives a fresh entry a new TTL from now. */
  public CompletableFuture<Touched> touch(Key key, Duration ttl) {
    return Views.async(operations.call(null), call -> operations.touch(call, key, ttl, null));
  }

  /** Gives a fresh entry a new TTL from now. */
  public CompletableFuture<Touched> touch(String key, Duration ttl) {
    return touch(Key.of(key), ttl);
  }

  /**
   * Removes one entry. After that no read returns what was written, leased or fetched before.
   */
  public CompletableFuture<Deleted<V>> delete(Key key, DeleteOptions options) {
    return Views.async(operations.call(null), call -> operations.delete(call, key, options));
  }

  /** Removes one entry. */
  public CompletableFuture<Deleted<V>> delete(String key) {
    return delete(Key.of(key), DeleteOptions.DEFAULTS);
  }

  /** Removes several entries, each with the guarantee of {@code delete}. */
  public <K> CompletableFuture<Map<K, Deleted<V>>> deleteMany(
      Iterable<K> keys, DeleteOptions options) {
    return Views.async(operations.call(null),
        call -> operations.deleteMany(call, keys, options));
  }

  /** Removes several entries, each with the guarantee of {@code delete}. */
  public <K> CompletableFuture<Map<K, Deleted<V>>> deleteMany(Iterable<K> keys) {
    return deleteMany(keys, DeleteOptions.DEFAULTS);
  }

  /**
   * Adds to a counter, atomically. A missing one starts from {@code initial}. It is not repeated
   * after an error: the sum may be applied.
   */
  public CompletableFuture<Incremented> increment(Key key, long delta, IncrementOptions options) {
    return Views.async(operations.call(null),
        call -> operations.increment(call, key, delta, options));
  }

  /** Adds to a counter, atomically. */
  public CompletableFuture<Incremented> increment(String key, long delta) {
    return increment(Key.of(key), delta, IncrementOptions.DEFAULTS);
  }

  /** Changes a part of a JSON value, atomically. */
  public CompletableFuture<Patched> patch(Key key, Patch patch, PatchOptions options) {
    return Views.async(operations.call(null),
        call -> operations.patch(call, key, patch, options));
  }

  /** Changes a part of a JSON value, atomically. */
  public CompletableFuture<Patched> patch(String key, Patch patch) {
    return patch(Key.of(key), patch, PatchOptions.DEFAULTS);
  }

  /**
   * Reads a value; one that is missing is computed. Of all calls in all processes that need the
   * value at the same time, one runs its loader, and the others receive its result: those of this
   * process the same object, which a program copies before it changes it. An error of the
   * loader is that of the future. A cache that is away is none: the loader runs, and nothing is
   * stored.
   */
  public CompletableFuture<Result<V>> getOrFetch(
      Key key, AsyncLoader<V> loader, FetchOptions options) {
    return Views.async(
        operations.call(null),
        call -> operations.getOrFetch(call, key, Load.async(loader), options));
  }

  /** Reads a value; one that is missing is computed. */
  public CompletableFuture<Result<V>> getOrFetch(String key, AsyncLoader<V> loader) {
    return getOrFetch(Key.of(key), loader, FetchOptions.DEFAULTS);
  }

  /** Reads a value; one that is missing is computed by the origin of the server. */
  public CompletableFuture<Result<V>> getOrFetch(Key key, FetchOptions options) {
    return Views.async(
        operations.call(null), call -> operations.getOrFetch(call, key, null, options));
  }

  /** Reads several values; the loader computes those that are missing, together. */
  public <K> CompletableFuture<Map<K, Result<V>>> getOrFetchMany(
      Iterable<K> keys, AsyncManyLoader<K, V> loader, FetchOptions options) {
    return Views.async(
        operations.call(null),
        call -> operations.getOrFetchManyAsync(call, keys, loader, options));
  }

  /** Reads several values; those that are missing are computed by the origin of the server. */
  public <K> CompletableFuture<Map<K, Result<V>>> getOrFetchMany(
      Iterable<K> keys, FetchOptions options) {
    return Views.async(
        operations.call(null),
        call -> operations.getOrFetchManyAsync(call, keys, null, options));
  }

  /** Makes entries unreachable by tag, by pattern and by key. */
  public CompletableFuture<Invalidated> invalidate(Targets targets) {
    return Views.async(operations.call(null),
        call -> operations.invalidate(call, targets, null));
  }

  /**
   * As {@code invalidate}; fills of what the targets match are rejected for {@code holdOff}.
   */
  public CompletableFuture<Invalidated> invalidate(Targets targets, Duration holdOff) {
    return Views.async(operations.call(null),
        call -> operations.invalidate(call, targets, holdOff));
  }

  /** Makes all entries of the namespace unreachable, at a cost independent of their number. */
  public CompletableFuture<Invalidated> invalidateNamespace() {
    return Views.async(operations.call(null), call -> operations.invalidateNamespace(call));
  }

  /** Invalidates what the rules of the server select for an event, in all namespaces. */
  public CompletableFuture<Published> publishEvent(String name, Map<String, String> attributes) {
    return Views.async(operations.call(null),
        call -> operations.publishEvent(call, name, attributes));
  }

  /**
   * A page of the keys of the namespace, in no order. Keys of all params are listed.
   *
   * @param token {@link KeyPage#next} of the page before; empty: the first page
   */
  public CompletableFuture<KeyPage> listKeys(ListOptions options, String token) {
    return Views.async(operations.call(null),
        call -> operations.listKeys(call, options, token));
  }

  /** The number of keys that {@code listKeys} lists. */
  public CompletableFuture<Long> countKeys(ListOptions options) {
    return Views.async(operations.call(null), call -> operations.countKeys(call, options));
  }

  /** Statistics of the namespace in the whole fleet; empty if there are none yet. */
  public CompletableFuture<Optional<Stats.OfNamespace>> stats() {
    return Views.async(
        operations.call(null), call -> operations.stats(call).thenApply(this::own));
  }

  private Optional<Stats.OfNamespace> own(Stats stats) {
    return Optional.ofNullable(stats.namespaces().get(operations.wireName()));
  }
}
