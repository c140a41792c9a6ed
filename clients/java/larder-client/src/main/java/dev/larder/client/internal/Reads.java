package dev.larder.client.internal;

import com.google.protobuf.Duration;
import dev.larder.client.Key;
import dev.larder.client.ReadOptions;
import dev.larder.client.Result;
import dev.larder.client.internal.Counters.Name;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import larder.v1.CacheServiceOuterClass.BatchGetRequest;
import larder.v1.CacheServiceOuterClass.BatchGetResponse;
import larder.v1.CacheServiceOuterClass.BatchGetResult;
import larder.v1.CacheServiceOuterClass.Consistency;
import larder.v1.CacheServiceOuterClass.GetRequest;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.Outcome;

/** Reads of entries. */
final class Reads {
  private Reads() {}

  static Optional<Duration> maxStale(ReadOptions options) {
    return Optional.ofNullable(options.maxStale())
        .map(value -> Times.toWire(Times.span(value, "maxStale")));
  }

  static Optional<Duration> touch(ReadOptions options) {
    return Optional.ofNullable(options.touch())
        .map(value -> Times.toWire(Times.positive(value, "touch")));
  }

  static Consistency consistency(ReadOptions options, boolean consistent) {
    return consistent || options.consistent()
        ? Consistency.CONSISTENCY_STORE
        : Consistency.CONSISTENCY_UNSPECIFIED;
  }

  /** The near cache that a read may use; null: none. */
  static <V> NearCache<V> nearOf(Scope<V> scope, ReadOptions options) {
    return options.consistent() || options.touch() != null ? null : scope.near;
  }

  /** The value of the near cache, without a call; null: it has none. */
  static <V> Result<V> held(Scope<V> scope, Key key, ReadOptions options) {
    NearCache<V> near = nearOf(scope, options);
    if (near == null) {
      return null;
    }
    scope.core.caller.checkOpen();
    Result<V> held = near.get(Address.of(key));
    return held == null ? null : nearHit(scope, held);
  }

  /** Counts a hit of the near cache. */
  static <V> Result<V> nearHit(Scope<V> scope, Result<V> hit) {
    scope.count.add(Name.HITS);
    scope.count.add(Name.NEAR_HITS);
    return hit;
  }

  static KeyRef keyRef(Scope<?> scope, Address address) {
    return KeyRef.newBuilder()
        .setNamespace(scope.namespace)
        .setKey(address.key())
        .putAllParams(address.params())
        .build();
  }

  private static GetRequest.Builder request(
      Scope<?> scope, Address address, ReadOptions options) {
    GetRequest.Builder request =
        GetRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .setConsistency(consistency(options, false));
    maxStale(options).ifPresent(request::setMaxStale);
    touch(options).ifPresent(request::setTouch);
    return request;
  }

  static <V> CompletableFuture<Result<V>> get(
      Scope<V> scope, Call call, Address address, ReadOptions options) {
    scope.core.caller.checkOpen();
    NearCache<V> near = nearOf(scope, options);
    Result<V> held = near == null ? null : near.get(address);
    if (held != null) {
      return CompletableFuture.completedFuture(nearHit(scope, held));
    }
    CallSpec spec = scope.spec(call, options.timeout(), true, true);
    // An option that is wrong throws here, before the near cache counts on the answer.
    GetRequest.Builder request = request(scope, address, options);
    NearCache.Pending pending = near == null ? null : near.begin(address);
    if (pending != null) {
      request.setConsistency(Consistency.CONSISTENCY_STORE);
    }
    return Futures.then(
        scope.core.caller.unary(Rpcs.GET, request.build(), spec),
        (answer, error) -> {
          if (error != null) {
            if (pending != null) {
              near.end(pending, null, null);
            }
            return missAtOutage(scope, error);
          }
          Result<V> result =
              Results.read(
                  scope,
                  answer.getOutcome(),
                  answer.getValue(),
                  answer.getEntry(),
                  answer.getDegraded());
          if (pending != null) {
            near.end(pending, result, answer.getValue());
          }
          return CompletableFuture.completedFuture(result);
        });
  }

  /** A miss in place of an outage. */
  private static <V> CompletableFuture<Result<V>> missAtOutage(Scope<V> scope, Throwable error) {
    if (!scope.failsOpen(error)) {
      return Futures.failed(error);
    }
    scope.count.add(Name.MISSES);
    return CompletableFuture.completedFuture(Results.miss(true, error));
  }

  /** Whether get would find a value, which is not transferred. */
  static CompletableFuture<Boolean> has(
      Scope<?> scope, Call call, Address address, ReadOptions options) {
    CallSpec spec = scope.spec(call, options.timeout(), true, true);
    GetRequest request = request(scope, address, options).setOmitValue(true).build();
    return Futures.then(
        scope.core.caller.unary(Rpcs.GET, request, spec),
        (answer, error) -> {
          if (error != null) {
            return scope.failsOpen(error)
                ? CompletableFuture.completedFuture(false)
                : Futures.failed(error);
          }
          return CompletableFuture.completedFuture(
              answer.getOutcome() == Outcome.OUTCOME_HIT
                  || answer.getOutcome() == Outcome.OUTCOME_STALE);
        });
  }

  private record Wanted<K>(K key, Address address, KeyRef ref) {}

  static <K, V> CompletableFuture<Map<K, Result<V>>> getMany(
      Scope<V> scope, Call call, Iterable<K> keys, ReadOptions options) {
    scope.core.caller.checkOpen();
    CallSpec spec = scope.spec(call, options.timeout(), true, true);
    NearCache<V> near = nearOf(scope, options);
    // A key without a result keeps its place in the order of the map.
    Map<K, Result<V>> results = new LinkedHashMap<>();
    List<Wanted<K>> wanted = new ArrayList<>();
    for (K key : keys) {
      Address address = Address.ofAny(key);
      if (results.containsKey(key)) {
        continue;
      }
      Result<V> held = near == null ? null : near.get(address);
      results.put(key, held == null ? null : nearHit(scope, held));
      if (held == null) {
        wanted.add(new Wanted<>(key, address, keyRef(scope, address)));
      }
    }
    CompletableFuture<Void> done = CompletableFuture.completedFuture(null);
    for (List<Wanted<K>> part : Scope.batches(wanted, Wanted::ref)) {
      done = done.thenCompose(ignored -> getPart(scope, spec, part, options, results));
    }
    return done.thenApply(ignored -> results);
  }

  private static <K, V> CompletableFuture<Void> getPart(
      Scope<V> scope,
      CallSpec spec,
      List<Wanted<K>> part,
      ReadOptions options,
      Map<K, Result<V>> results) {
    NearCache<V> near = nearOf(scope, options);
    BatchGetRequest.Builder request = BatchGetRequest.newBuilder();
    part.forEach(wanted -> request.addKeys(wanted.ref()));
    maxStale(options).ifPresent(request::setMaxStale);
    touch(options).ifPresent(request::setTouch);
    List<NearCache.Pending> pending =
        near == null ? List.of() : near.beginAll(part.stream().map(Wanted::address).toList());
    request.setConsistency(consistency(options, !pending.isEmpty()));
    return Futures.then(
        scope.core.caller.collect(Rpcs.BATCH_GET, request.build(), spec),
        (messages, error) -> {
          try {
            if (error == null) {
              take(scope, part, messages, pending, results);
              return CompletableFuture.completedFuture(null);
            }
            for (Wanted<K> wanted : part) {
              if (!scope.failsOpen(error)) {
                return Futures.failed(error);
              }
              scope.count.add(Name.MISSES);
              results.put(wanted.key(), Results.miss(true, error));
            }
            return CompletableFuture.completedFuture(null);
          } finally {
            pending.forEach(begun -> near.end(begun, null, null));
          }
        });
  }

  private static <K, V> void take(
      Scope<V> scope,
      List<Wanted<K>> part,
      List<BatchGetResponse> messages,
      List<NearCache.Pending> pending,
      Map<K, Result<V>> results) {
    int index = 0;
    for (BatchGetResponse message : messages) {
      for (BatchGetResult read : message.getResultsList()) {
        if (index == part.size()) {
          return;
        }
        // Of a message, the keys that missed may be those that the store did not answer for.
        boolean away = message.getDegraded() && read.getOutcome() == Outcome.OUTCOME_MISS;
        Result<V> result =
            Results.read(scope, read.getOutcome(), read.getValue(), read.getEntry(), away);
        results.put(part.get(index).key(), result);
        if (!pending.isEmpty()) {
          scope.near.end(pending.get(index), result, read.getValue());
        }
        index++;
      }
    }
    for (; index < part.size(); index++) {
      results.put(part.get(index).key(), Results.miss(true, null));
    }
  }
}
