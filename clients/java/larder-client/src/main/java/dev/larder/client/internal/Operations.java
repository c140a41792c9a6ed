package dev.larder.client.internal;

import dev.larder.client.AsyncManyLoader;
import dev.larder.client.Codec;
import dev.larder.client.DeleteOptions;
import dev.larder.client.Deleted;
import dev.larder.client.FetchOptions;
import dev.larder.client.IncrementOptions;
import dev.larder.client.Incremented;
import dev.larder.client.Invalidated;
import dev.larder.client.Key;
import dev.larder.client.KeyPage;
import dev.larder.client.ListOptions;
import dev.larder.client.Patch;
import dev.larder.client.PatchOptions;
import dev.larder.client.Patched;
import dev.larder.client.Published;
import dev.larder.client.ReadOptions;
import dev.larder.client.Result;
import dev.larder.client.Stats;
import dev.larder.client.Targets;
import dev.larder.client.Touched;
import dev.larder.client.Watch;
import dev.larder.client.WriteOptions;
import dev.larder.client.WriteResult;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.function.Predicate;

/** All calls of a handle. The blocking and the asynchronous interface are views of it. */
public final class Operations<V> {
  private final Scope<V> scope;

  Operations(Scope<V> scope) {
    this.scope = scope;
  }

  /** The same handle with another codec, and without a near cache. */
  public <U> Operations<U> with(Codec<U> codec) {
    return new Operations<>(scope.with(codec));
  }

  /** Name as the server has it. */
  public String wireName() {
    return scope.namespace;
  }

  /** A call whose loaders run on an executor; null: in the thread that completes a step. */
  public Call call(Executor loaders) {
    return new Call(
        new Cancellation(),
        scope.core.caller.parent(),
        loaders == null ? Runnable::run : loaders);
  }

  /** Threads of the client. */
  public Executor workers() {
    return scope.core.workers;
  }

  /** Reads one entry. */
  public CompletableFuture<Result<V>> get(Call call, Key key, ReadOptions options) {
    return Reads.get(scope, call, Address.of(key), options);
  }

  /** Reads several entries. */
  public <K> CompletableFuture<Map<K, Result<V>>> getMany(
      Call call, Iterable<K> keys, ReadOptions options) {
    return Reads.getMany(scope, call, keys, options);
  }

  /** Whether there is a value. */
  public CompletableFuture<Boolean> has(Call call, Key key, ReadOptions options) {
    return Reads.has(scope, call, Address.of(key), options);
  }

  private <R> CompletableFuture<R> changes(
      Address address, java.util.function.Supplier<CompletableFuture<R>> call) {
    return Feeds.changing(scope, feed -> feed.keyChanged(address.key()), call);
  }

  /** Stores one value. */
  public CompletableFuture<WriteResult> set(
      Call call, Key key, V value, WriteOptions options) {
    Address address = Address.of(key);
    return changes(address, () -> Writes.set(scope, call, address, value, options));
  }

  /** Stores several values. */
  public <K> CompletableFuture<Map<K, WriteResult>> setMany(
      Call call, Map<K, ? extends V> values, WriteOptions options) {
    List<String> keys = values.keySet().stream().map(key -> Address.ofAny(key).key()).toList();
    return Feeds.changing(
        scope,
        feed -> keys.forEach(feed::keyChanged),
        () -> Writes.setMany(scope, call, values, options));
  }

  /** Gives an entry a new TTL. */
  public CompletableFuture<Touched> touch(Call call, Key key, Duration ttl, Duration timeout) {
    Address address = Address.of(key);
    return changes(address, () -> Writes.touch(scope, call, address, ttl, timeout));
  }

  /** Adds to a counter. */
  public CompletableFuture<Incremented> increment(
      Call call, Key key, long delta, IncrementOptions options) {
    Address address = Address.of(key);
    return changes(address, () -> Changes.increment(scope, call, address, delta, options));
  }

  /** Changes a part of a JSON value. */
  public CompletableFuture<Patched> patch(
      Call call, Key key, Patch patch, PatchOptions options) {
    Address address = Address.of(key);
    return changes(address, () -> Changes.patch(scope, call, address, patch, options));
  }

  /** Reads a value; one that is missing is computed. */
  public CompletableFuture<Result<V>> getOrFetch(
      Call call, Key key, Load<V> loader, FetchOptions options) {
    return Fetch.getOrFetch(scope, call, Address.of(key), loader, options);
  }

  /** Reads values; those that are missing are computed by a loader that may wait. */
  public <K> CompletableFuture<Map<K, Result<V>>> getOrFetchMany(
      Call call, Iterable<K> keys, BlockingMany<K, V> loader, FetchOptions options) {
    FetchMany.LoadMany<K, V> load =
        loader == null
            ? null
            : (missing, context, executor) ->
                Load.<Map<K, ? extends V>>blocking(own -> loader.load(missing, own))
                    .begin(context, executor);
    return FetchMany.getOrFetchMany(scope, call, keys, load, options);
  }

  /** Reads values; those that are missing are computed by a loader that does not block. */
  public <K> CompletableFuture<Map<K, Result<V>>> getOrFetchManyAsync(
      Call call, Iterable<K> keys, AsyncManyLoader<K, V> loader, FetchOptions options) {
    FetchMany.LoadMany<K, V> load =
        loader == null
            ? null
            : (missing, context, executor) ->
                Load.<Map<K, ? extends V>>async(own -> loader.load(missing, own))
                    .begin(context, executor);
    return FetchMany.getOrFetchMany(scope, call, keys, load, options);
  }

  /** A loader of several keys that may wait. */
  @FunctionalInterface
  public interface BlockingMany<K, V> {
    /** Computes values. */
    Map<K, ? extends V> load(List<K> keys, dev.larder.client.LoadContext context)
        throws Exception;
  }

  /** Removes one entry. */
  public CompletableFuture<Deleted<V>> delete(Call call, Key key, DeleteOptions options) {
    Address address = Address.of(key);
    return Feeds.removing(
        scope,
        feed -> feed.keyChanged(address.key()),
        address.key()::equals,
        () -> Changes.delete(scope, call, address, options));
  }

  /** Removes several entries. */
  public <K> CompletableFuture<Map<K, Deleted<V>>> deleteMany(
      Call call, Iterable<K> keys, DeleteOptions options) {
    List<K> named = new ArrayList<>();
    Set<String> addressed = new HashSet<>();
    keys.forEach(
        key -> {
          named.add(key);
          addressed.add(Address.ofAny(key).key());
        });
    return Feeds.removing(
        scope,
        feed -> addressed.forEach(feed::keyChanged),
        addressed::contains,
        () -> Changes.deleteMany(scope, call, named, options));
  }

  /** Makes entries unreachable. */
  public CompletableFuture<Invalidated> invalidate(
      Call call, Targets targets, Duration holdOff) {
    CallSpec spec = scope.spec(call, (Duration) null, true, false);
    Set<String> keys = new HashSet<>();
    targets.keys().forEach(key -> keys.add(Address.of(key).key()));
    List<Predicate<String>> globs = new ArrayList<>();
    for (String glob : targets.globs()) {
      Predicate<String> matcher = Globs.matcher(glob);
      globs.add(matcher == null ? key -> true : matcher);
    }
    // A value that is being computed may have any tags.
    Predicate<String> concerns =
        key ->
            !targets.tags().isEmpty()
                || keys.contains(key)
                || globs.stream().anyMatch(glob -> glob.test(key));
    return Feeds.removing(
        scope,
        feed -> {
          keys.forEach(feed::keyChanged);
          targets.globs().forEach(feed::patternInvalidated);
          if (!targets.tags().isEmpty()) {
            feed.tagsInvalidated(targets.tags());
          }
        },
        concerns,
        () -> Invalidations.invalidate(scope, spec, targets, holdOff));
  }

  /** Makes all entries unreachable. */
  public CompletableFuture<Invalidated> invalidateNamespace(Call call) {
    CallSpec spec = scope.spec(call, (Duration) null, true, false);
    return Feeds.removing(
        scope,
        Feed::clear,
        key -> true,
        () -> Invalidations.invalidateNamespace(scope, spec));
  }

  /** Invalidates what the rules of the server select for an event, in all namespaces. */
  public CompletableFuture<Published> publishEvent(
      Call call, String name, Map<String, String> attributes) {
    CallSpec spec = scope.spec(call, (Duration) null, true, false);
    return Feeds.removingAll(
        scope.core, () -> Invalidations.publish(scope.core, spec, name, attributes));
  }

  /** A page of keys. */
  public CompletableFuture<KeyPage> listKeys(Call call, ListOptions options, String token) {
    return Listing.page(scope, call, options, token);
  }

  /** The number of keys. */
  public CompletableFuture<Long> countKeys(Call call, ListOptions options) {
    return Listing.count(scope, call, options, "", 0);
  }

  /** The changes of the namespace. */
  public Watch watch(boolean keys) {
    return new Watching(scope, keys);
  }

  /** Statistics of the namespace. */
  public CompletableFuture<Stats> stats(Call call) {
    double timeout = Math.max(Listing.LIST_TIMEOUT_MS, scope.core.limits.call());
    CallSpec spec = scope.spec(call, timeout, true, false);
    return Listing.stats(scope.core, spec, List.of(scope.namespace));
  }
}
