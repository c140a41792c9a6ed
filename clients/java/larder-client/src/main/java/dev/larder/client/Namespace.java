package dev.larder.client;

import dev.larder.client.internal.KeyIterator;
import dev.larder.client.internal.Load;
import dev.larder.client.internal.Operations;
import dev.larder.client.internal.Views;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/**
 * A namespace: a logical cache with its own defaults. Handles are cheap; all of one client share
 * its connections. Made by {@link LarderClient#namespace}. An interrupted thread leaves a call with
 * {@link CancelledException}.
 */
public final class Namespace<V> {
  private final String name;
  private final Operations<V> operations;

  Namespace(String name, Operations<V> operations) {
    this.name = name;
    this.operations = operations;
  }

  /** The name as it was given. */
  public String name() {
    return name;
  }

  /** The name as the server has it. */
  public String wireName() {
    return operations.wireName();
  }

  /** The same calls with futures. */
  public AsyncNamespace<V> async() {
    return new AsyncNamespace<>(name, operations);
  }

  /** The same handle for values of another type, without its near cache. */
  public <U> Namespace<U> as(Codec<U> codec) {
    return new Namespace<>(name, operations.with(codec));
  }

  /** The same handle for values of another type, without its near cache. */
  public <U> Namespace<U> as(Class<U> type) {
    return as(Codecs.auto(type));
  }

  /** Reads one entry. Without the cache it is a miss. */
  public Result<V> get(Key key, ReadOptions options) {
    Result<V> held = operations.held(key, options);
    if (held != null) {
      return held;
    }
    return Views.await(operations.call(null), call -> operations.get(call, key, options));
  }

  /** Reads one entry. Without the cache it is a miss. */
  public Result<V> get(String key) {
    return get(Key.of(key), ReadOptions.DEFAULTS);
  }

  /** Reads one entry. Without the cache it is a miss. */
  public Result<V> get(Key key) {
    return get(key, ReadOptions.DEFAULTS);
  }

  /**
   * Reads several entries. The map has a result for each key, in their order.
   *
   * @param keys of the type String or {@link Key}
   */
  public <K> Map<K, Result<V>> getMany(Iterable<K> keys, ReadOptions options) {
    return Views.await(operations.call(null), call -> operations.getMany(call, keys, options));
  }

  /** Reads several entries. */
  public <K> Map<K, Result<V>> getMany(Iterable<K> keys) {
    return getMany(keys, ReadOptions.DEFAULTS);
  }

  /** Whether {@code get} would find a value. The value is not transferred. */
  public boolean has(Key key, ReadOptions options) {
    return Views.await(operations.call(null), call -> operations.has(call, key, options));
  }

  /** Whether {@code get} would find a value. The value is not transferred. */
  public boolean has(String key) {
    return has(Key.of(key), ReadOptions.DEFAULTS);
  }

  /**
   * Stores one value.
   *
   * @throws EncodeException if the codec cannot send the value
   * @throws ResourceExhaustedException (VALUE_TOO_LARGE) if it is over the limit of the server
   */
  public WriteResult set(Key key, V value, WriteOptions options) {
    return Views.await(operations.call(null),
        call -> operations.set(call, key, value, options));
  }

  /** Stores one value. */
  public WriteResult set(String key, V value, WriteOptions options) {
    return set(Key.of(key), value, options);
  }

  /** Stores one value with the TTL of the handle, else of the server. */
  public WriteResult set(String key, V value) {
    return set(Key.of(key), value, WriteOptions.DEFAULTS);
  }

  /** Stores several values, each with a result of its own. It is not atomic. */
  public <K> Map<K, WriteResult> setMany(Map<K, ? extends V> values, WriteOptions options) {
    return Views.await(operations.call(null),
        call -> operations.setMany(call, values, options));
  }

  /** Stores several values, each with a result of its own. It is not atomic. */
  public <K> Map<K, WriteResult> setMany(Map<K, ? extends V> values) {
    return setMany(values, WriteOptions.DEFAULTS);
  }

  /** Gives a fresh entry a new TTL from now. */
  public Touched touch(Key key, Duration ttl) {
    return Views.await(operations.call(null), call -> operations.touch(call, key, ttl, null));
  }

  /** Gives a fresh entry a new TTL from now. */
  public Touched touch(String key, Duration ttl) {
    return touch(Key.of(key), ttl);
  }

  /**
   * Removes one entry. After that no read returns what was written, leased or fetched before.
   *
   * @throws UnavailableException if the store did not apply it
   */
  public Deleted<V> delete(Key key, DeleteOptions options) {
    return Views.await(operations.call(null), call -> operations.delete(call, key, options));
  }

  /** Removes one entry. */
  public Deleted<V> delete(String key) {
    return delete(Key.of(key), DeleteOptions.DEFAULTS);
  }

  /** Removes several entries, each with the guarantee of {@code delete}. */
  public <K> Map<K, Deleted<V>> deleteMany(Iterable<K> keys, DeleteOptions options) {
    return Views.await(operations.call(null),
        call -> operations.deleteMany(call, keys, options));
  }

  /** Removes several entries, each with the guarantee of {@code delete}. */
  public <K> Map<K, Deleted<V>> deleteMany(Iterable<K> keys) {
    return deleteMany(keys, DeleteOptions.DEFAULTS);
  }

  /**
   * Adds to a counter, atomically. A missing one starts from {@code initial}. It is not repeated
   * after an error: the sum may be applied.
   *
   * @throws FailedPreconditionException if the entry is not an integer (NOT_AN_INTEGER), or the sum
   *     needs more than 64 bits (OVERFLOW)
   */
  public Incremented increment(Key key, long delta, IncrementOptions options) {
    return Views.await(operations.call(null),
        call -> operations.increment(call, key, delta, options));
  }

  /** Adds to a counter, atomically. */
  public Incremented increment(String key, long delta) {
    return increment(Key.of(key), delta, IncrementOptions.DEFAULTS);
  }

  /** Changes a part of a JSON value, atomically. */
  public Patched patch(Key key, Patch patch, PatchOptions options) {
    return Views.await(operations.call(null),
        call -> operations.patch(call, key, patch, options));
  }

  /** Changes a part of a JSON value, atomically. */
  public Patched patch(String key, Patch patch) {
    return patch(Key.of(key), patch, PatchOptions.DEFAULTS);
  }

  /**
   * Reads a value; one that is missing is computed. Of all calls in all processes that need the
   * value at the same time, one runs its loader, in its own thread, and the others receive its
   * result.
   *
   * <p>Calls of this process that join receive the object that the loader has returned, not copies
   * of it. A program that changes such a value copies it first.
   *
   * <p>A loader must not ask for the key that it computes: it would wait for itself. The refresh of
   * a stale value runs it in a thread of the client.
   *
   * @throws X the error of the loader, as it is. A cache that is away, slow or full is none: the
   *     loader runs, and nothing is stored
   * @throws CancelledException if the thread is interrupted, which stays so
   */
  public <X extends Exception> Result<V> getOrFetch(
      Key key, Loader<? extends V, X> loader, FetchOptions options) throws X {
    return Views.awaitLoading(
        operations,
        call -> operations.getOrFetch(call, key, Load.blocking(loader::load), options));
  }

  /** Reads a value; one that is missing is computed. */
  public <X extends Exception> Result<V> getOrFetch(
      String key, Loader<? extends V, X> loader, FetchOptions options) throws X {
    return getOrFetch(Key.of(key), loader, options);
  }

  /** Reads a value; one that is missing is computed. */
  public <X extends Exception> Result<V> getOrFetch(
      String key, Loader<? extends V, X> loader) throws X {
    return getOrFetch(Key.of(key), loader, FetchOptions.DEFAULTS);
  }

  /** Reads a value; one that is missing is computed by the origin of the server. */
  public Result<V> getOrFetch(Key key, FetchOptions options) {
    return Views.await(
        operations.call(null), call -> operations.getOrFetch(call, key, null, options));
  }

  /**
   * Reads several values; the loader computes those that are missing, together. A key without a
   * value in its answer is a miss.
   *
   * @param keys of the type String or {@link Key}
   */
  public <K, X extends Exception> Map<K, Result<V>> getOrFetchMany(
      Iterable<K> keys, ManyLoader<K, ? extends V, X> loader, FetchOptions options) throws X {
    return Views.awaitLoading(
        operations, call -> operations.getOrFetchMany(call, keys, loader::load, options));
  }

  /** Reads several values; those that are missing are computed by the origin of the server. */
  public <K> Map<K, Result<V>> getOrFetchMany(Iterable<K> keys, FetchOptions options) {
    return Views.await(
        operations.call(null), call -> operations.getOrFetchMany(call, keys, null, options));
  }

  /**
   * Makes entries unreachable by tag, by pattern and by key.
   *
   * @throws UnavailableException if the store did not apply all of it; the call can be repeated
   */
  public Invalidated invalidate(Targets targets) {
    return Views.await(operations.call(null),
        call -> operations.invalidate(call, targets, null));
  }

  /**
   * As {@code invalidate}; fills of what the targets match are rejected for {@code holdOff}.
   */
  public Invalidated invalidate(Targets targets, Duration holdOff) {
    return Views.await(operations.call(null),
        call -> operations.invalidate(call, targets, holdOff));
  }

  /** Makes all entries of the namespace unreachable, at a cost independent of their number. */
  public Invalidated invalidateNamespace() {
    return Views.await(operations.call(null), call -> operations.invalidateNamespace(call));
  }

  /** Invalidates what the rules of the server select for an event, in all namespaces. */
  public Published publishEvent(String name, Map<String, String> attributes) {
    return Views.await(operations.call(null),
        call -> operations.publishEvent(call, name, attributes));
  }

  /**
   * A page of the keys of the namespace, in no order. Keys of all params are listed.
   *
   * @param token {@link KeyPage#next} of the page before; empty: the first page
   */
  public KeyPage listKeys(ListOptions options, String token) {
    return Views.await(operations.call(null),
        call -> operations.listKeys(call, options, token));
  }

  /** The keys of the namespace, in no order. A page is asked for when it is needed. */
  public Iterable<ListedKey> listKeys(ListOptions options) {
    return () -> new KeyIterator(token -> listKeys(options, token));
  }

  /** The number of keys that {@code listKeys} lists. */
  public long countKeys(ListOptions options) {
    return Views.await(operations.call(null), call -> operations.countKeys(call, options));
  }

  /**
   * The changes of the namespace: invalidations and, with {@code keys}, all writes. It must be
   * closed.
   */
  public Watch watch(boolean keys) {
    return operations.watch(keys);
  }

  /** Statistics of the namespace in the whole fleet; empty if there are none yet. */
  public Optional<Stats.OfNamespace> stats() {
    return own(Views.await(operations.call(null), operations::stats));
  }

  private Optional<Stats.OfNamespace> own(Stats stats) {
    return Optional.ofNullable(stats.namespaces().get(operations.wireName()));
  }
}
