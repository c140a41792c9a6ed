package dev.larder.client.internal;

import dev.larder.client.Encoded;
import dev.larder.client.Touched;
import dev.larder.client.Ttl;
import dev.larder.client.WriteOptions;
import dev.larder.client.WriteOptions.Condition;
import dev.larder.client.WriteResult;
import dev.larder.client.WriteResult.Reason;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import larder.v1.CacheServiceOuterClass.BatchSetRequest;
import larder.v1.CacheServiceOuterClass.DeleteRequest;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.TouchRequest;

/** Writes of entries. */
final class Writes {
  private Writes() {}

  static <V> CompletableFuture<WriteResult> set(
      Scope<V> scope, Call call, Address address, V value, WriteOptions options) {
    checkTags(scope, options);
    boolean idempotent = options.condition() == null;
    CallSpec spec = scope.spec(call, options.timeout(), idempotent, true);
    Double ttl = scope.ttlOf(options.ttl());
    if (ttl != null && ttl <= 0) {
      return expire(scope, spec, address, options);
    }
    SetRequest request = request(scope, address, scope.codec.encode(value), ttl, options);
    return writeOpen(
        scope,
        scope.core.caller.unary(Rpcs.SET, request, spec).thenApply(Results::written));
  }

  private static void checkTags(Scope<?> scope, WriteOptions options) {
    Names.checkTags(options.tags(), "tags");
    Names.checkTagCount(scope.tagsOf(options.tags()));
  }

  private static SetRequest request(
      Scope<?> scope, Address address, Encoded value, Double ttl, WriteOptions options) {
    SetRequest.Builder request =
        SetRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .setValue(Values.toWire(value))
            .addAllTags(scope.tagsOf(options.tags()));
    if (ttl != null) {
      request.setTtl(Times.toWire(ttl));
    }
    if (options.condition() == Condition.ABSENT) {
      request.setIfAbsent(true);
    } else if (options.condition() == Condition.PRESENT) {
      request.setIfPresent(true);
    } else if (options.condition() == Condition.VERSION) {
      request.setIfVersion(options.version());
    }
    return request.build();
  }

  private static CompletableFuture<WriteResult> writeOpen(
      Scope<?> scope, CompletableFuture<WriteResult> sent) {
    return Futures.then(
        sent,
        (result, error) -> {
          if (error == null) {
            return CompletableFuture.completedFuture(result);
          }
          return scope.failsOpen(error)
              ? CompletableFuture.completedFuture(
                  Results.notStored(Reason.UNAVAILABLE, true, error))
              : Futures.failed(error);
        });
  }

  /** A value without a lifetime is not stored, and ends the one that is there. */
  private static CompletableFuture<WriteResult> expire(
      Scope<?> scope, CallSpec spec, Address address, WriteOptions options) {
    scope.core.caller.checkOpen();
    // There is nothing to delete if the value was to be stored only in place of none.
    if (options.condition() == Condition.ABSENT) {
      return CompletableFuture.completedFuture(Results.notStored(Reason.EXPIRED, false, null));
    }
    DeleteRequest.Builder request =
        DeleteRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params());
    if (options.condition() == Condition.VERSION) {
      request.setIfVersion(options.version());
    }
    return writeOpen(
        scope,
        scope
            .core
            .caller
            .unary(Rpcs.DELETE, request.build(), spec)
            .thenApply(answer -> Results.notStored(Reason.EXPIRED, false, null)));
  }

  private record Item<K>(K key, SetRequest request) {}

  static <K, V> CompletableFuture<Map<K, WriteResult>> setMany(
      Scope<V> scope, Call call, Map<K, ? extends V> values, WriteOptions options) {
    scope.core.caller.checkOpen();
    if (options.condition() != null) {
      throw new IllegalArgumentException("options: setMany takes no condition");
    }
    checkTags(scope, options);
    CallSpec spec = scope.spec(call, options.timeout(), true, true);
    Map<K, WriteResult> results = new LinkedHashMap<>();
    Double ttl = scope.ttlOf(options.ttl());
    CompletableFuture<Void> done = CompletableFuture.completedFuture(null);
    if (ttl != null && ttl <= 0) {
      for (K key : values.keySet()) {
        Address address = Address.ofAny(key);
        done =
            done.thenCompose(ignored -> expire(scope, spec, address, options))
                .thenAccept(result -> results.put(key, result));
      }
      return done.thenApply(ignored -> results);
    }
    // All values are encoded first, so that one that cannot be leaves nothing stored.
    List<Item<K>> items = new ArrayList<>();
    values.forEach(
        (key, value) -> {
          SetRequest request =
              request(scope, Address.ofAny(key), scope.codec.encode(value), ttl, options);
          items.add(new Item<>(key, request));
        });
    for (List<Item<K>> part : Scope.batches(items, Item::request)) {
      done = done.thenCompose(ignored -> setPart(scope, spec, part, results));
    }
    return done.thenApply(ignored -> results);
  }

  private static <K> CompletableFuture<Void> setPart(
      Scope<?> scope, CallSpec spec, List<Item<K>> part, Map<K, WriteResult> results) {
    BatchSetRequest.Builder request = BatchSetRequest.newBuilder();
    part.forEach(item -> request.addItems(item.request()));
    return Futures.then(
        scope.core.caller.unary(Rpcs.BATCH_SET, request.build(), spec),
        (answer, error) -> {
          if (error != null && !scope.failsOpen(error)) {
            return Futures.failed(error);
          }
          for (int index = 0; index < part.size(); index++) {
            results.put(
                part.get(index).key(),
                error == null
                    ? Results.written(answer.getResults(index))
                    : Results.notStored(Reason.UNAVAILABLE, true, error));
          }
          return CompletableFuture.completedFuture(null);
        });
  }

  static CompletableFuture<Touched> touch(
      Scope<?> scope, Call call, Address address, Duration ttl, Duration timeout) {
    double ms = Ttl.FOREVER.equals(ttl) ? Times.ms(ttl) : Times.positive(ttl, "ttl");
    TouchRequest request =
        TouchRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .setTtl(Times.toWire(ms))
            .build();
    return Futures.then(
        scope.core.caller.unary(Rpcs.TOUCH, request, scope.spec(call, timeout, true, true)),
        (answer, error) -> {
          if (error == null) {
            Duration applied = answer.hasTtl() ? Times.toJava(answer.getTtl()) : null;
            return CompletableFuture.completedFuture(
                new Touched(answer.getFound(), applied, answer.getDegraded(), null));
          }
          return scope.failsOpen(error)
              ? CompletableFuture.completedFuture(new Touched(false, null, true, error))
              : Futures.failed(error);
        });
  }
}
