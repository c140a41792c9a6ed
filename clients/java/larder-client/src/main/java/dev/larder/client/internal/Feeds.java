package dev.larder.client.internal;

import dev.larder.client.NearCacheOptions;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.function.Supplier;

/**
 * The feeds of a client by namespace: there are some only for namespaces with near caches. Calls
 * that change entries make near caches forget what they concern before and after, so that no read
 * of this process returns or keeps what was there.
 */
final class Feeds {
  private final Map<String, Feed> feeds = new ConcurrentHashMap<>();

  private final ReentrantLock lock = new ReentrantLock();

  /** A near cache of the feed of a namespace, which is opened at the first read. */
  <V> NearCache<V> open(Scope<V> scope, NearCacheOptions options) {
    lock.lock();
    try {
      Feed feed =
          feeds.computeIfAbsent(
              scope.namespace, name -> new Feed(scope, one -> closeUnused(name, one)));
      return new NearCache<>(feed, scope.codec, options);
    } finally {
      lock.unlock();
    }
  }

  /** Forgets a feed whose handles the program has dropped. False: it is in use. */
  private boolean closeUnused(String namespace, Feed feed) {
    lock.lock();
    try {
      if (feed.isUsed()) {
        return false;
      }
      feeds.remove(namespace, feed);
      return true;
    } finally {
      lock.unlock();
    }
  }

  /** Makes a call that changes entries. */
  static <R> CompletableFuture<R> changing(
      Scope<?> scope, Consumer<Feed> forget, Supplier<CompletableFuture<R>> call) {
    Feed feed = scope.core.feeds.feeds.get(scope.namespace);
    if (feed == null) {
      return call.get();
    }
    forget.accept(feed);
    return call.get().whenComplete((value, error) -> forget.accept(feed));
  }

  /** As changing, for an invalidation: the computations of now are not joined any more. */
  static <R> CompletableFuture<R> removing(
      Scope<?> scope,
      Consumer<Feed> forget,
      Predicate<String> concerns,
      Supplier<CompletableFuture<R>> call) {
    Flights flights = scope.core.flights;
    flights.forget(scope.namespace, concerns);
    return changing(scope, forget, call)
        .whenComplete((value, error) -> flights.forget(scope.namespace, concerns));
  }

  /** As removing, for a call that may concern all namespaces. */
  static <R> CompletableFuture<R> removingAll(Core core, Supplier<CompletableFuture<R>> call) {
    Runnable forget =
        () -> {
          core.feeds.feeds.values().forEach(Feed::clear);
          core.flights.forget(null, key -> true);
        };
    forget.run();
    return call.get().whenComplete((value, error) -> forget.run());
  }
}
