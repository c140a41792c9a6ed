package dev.larder.client.internal;

import dev.larder.client.DeleteOptions;
import dev.larder.client.Deleted;
import dev.larder.client.IncrementOptions;
import dev.larder.client.Incremented;
import dev.larder.client.Patch;
import dev.larder.client.PatchOptions;
import dev.larder.client.Patched;
import dev.larder.client.Result;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import larder.v1.CacheServiceOuterClass.BatchDeleteRequest;
import larder.v1.CacheServiceOuterClass.DeleteRequest;
import larder.v1.CacheServiceOuterClass.Durability;
import larder.v1.CacheServiceOuterClass.IncrementRequest;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.Outcome;
import larder.v1.CacheServiceOuterClass.PatchRequest;
import larder.v1.CacheServiceOuterClass.PatchResult;

/** Deletions, increments and patches: at an outage they throw. */
final class Changes {
  private Changes() {}

  static void checkVersion(String version) {
    if (version != null && version.isEmpty()) {
      throw new IllegalArgumentException("ifVersion: must not be empty");
    }
  }

  static <V> CompletableFuture<Deleted<V>> delete(
      Scope<V> scope, Call call, Address address, DeleteOptions options) {
    checkVersion(options.ifVersion());
    DeleteRequest.Builder request =
        DeleteRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .setReturnValue(options.returnValue());
    if (options.ifVersion() != null) {
      request.setIfVersion(options.ifVersion());
    }
    if (options.holdOff() != null) {
      request.setHoldOff(Times.toWire(Times.span(options.holdOff(), "holdOff")));
    }
    boolean idempotent = options.ifVersion() == null && !options.returnValue();
    CallSpec spec = scope.spec(call, options.timeout(), idempotent, false);
    return scope
        .core
        .caller
        .unary(Rpcs.DELETE, request.build(), spec)
        .thenApply(
            answer -> {
              boolean removed =
                  answer.hasRemoved()
                      && answer.getRemoved().getOutcome() != Outcome.OUTCOME_UNSPECIFIED;
              Result<V> entry =
                  removed ? Results.read(scope, answer.getRemoved(), false) : null;
              return new Deleted<>(
                  answer.getExisted(),
                  answer.getDeleted(),
                  entry,
                  answer.getDurability() == Durability.DURABILITY_QUEUED);
            });
  }

  private record Wanted<K>(K key, KeyRef ref) {}

  static <K, V> CompletableFuture<Map<K, Deleted<V>>> deleteMany(
      Scope<V> scope, Call call, Iterable<K> keys, DeleteOptions options) {
    scope.core.caller.checkOpen();
    if (options.ifVersion() != null || options.returnValue()) {
      throw new IllegalArgumentException(
          "options: deleteMany takes neither ifVersion nor returnValue");
    }
    CallSpec spec = scope.spec(call, options.timeout(), true, false);
    Map<K, Deleted<V>> results = new LinkedHashMap<>();
    List<Wanted<K>> wanted = new ArrayList<>();
    keys.forEach(
        key -> wanted.add(new Wanted<>(key, Reads.keyRef(scope, Address.ofAny(key)))));
    CompletableFuture<Void> done = CompletableFuture.completedFuture(null);
    for (List<Wanted<K>> part : Scope.batches(wanted, Wanted::ref)) {
      BatchDeleteRequest.Builder request = BatchDeleteRequest.newBuilder();
      part.forEach(one -> request.addKeys(one.ref()));
      if (options.holdOff() != null) {
        request.setHoldOff(Times.toWire(Times.span(options.holdOff(), "holdOff")));
      }
      done =
          done.thenCompose(
                  ignored -> scope.core.caller.unary(Rpcs.BATCH_DELETE, request.build(), spec))
              .thenAccept(
                  answer -> {
                    for (int at = 0; at < part.size(); at++) {
                      results.put(
                          part.get(at).key(),
                          new Deleted<>(
                              answer.getExisted(at),
                              answer.getDeleted(at),
                              null,
                              at < answer.getDurabilitiesCount()
                                  && answer.getDurabilities(at)
                                      == Durability.DURABILITY_QUEUED));
                    }
                  });
    }
    return done.thenApply(ignored -> results);
  }

  static CompletableFuture<Incremented> increment(
      Scope<?> scope, Call call, Address address, long delta, IncrementOptions options) {
    Double ttl = scope.ttlOf(options.ttl());
    if (ttl != null && ttl <= 0) {
      throw new IllegalArgumentException("ttl: must be positive");
    }
    IncrementRequest.Builder request =
        IncrementRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .setDelta(delta)
            .setInitial(options.initial())
            .setIfPresent(options.ifPresent());
    if (ttl != null) {
      request.setTtl(Times.toWire(ttl));
    }
    return scope
        .core
        .caller
        .unary(
            Rpcs.INCREMENT, request.build(), scope.spec(call, options.timeout(), false, false))
        .thenApply(
            answer ->
                answer.getMissing()
                    ? new Incremented(null, "", null)
                    : new Incremented(
                        answer.getValue(),
                        answer.getVersion(),
                        Times.toJava(answer.getTtlRemaining())));
  }

  static CompletableFuture<Patched> patch(
      Scope<?> scope, Call call, Address address, Patch patch, PatchOptions options) {
    checkVersion(options.ifVersion());
    if (options.keepTtl() && options.ttl() != null) {
      throw new IllegalArgumentException("ttl, keepTtl: at most one can be set");
    }
    Double ttl = scope.ttlOf(options.ttl());
    if (!options.keepTtl() && ttl != null && ttl <= 0) {
      throw new IllegalArgumentException("ttl: must be positive");
    }
    PatchRequest.Builder request =
        PatchRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params());
    String change = JsonText.write(JsonText.MAPPER, patch.change());
    if (patch instanceof Patch.Merge) {
      request.setMergePatch(change);
    } else {
      request.setJsonPatch(change);
    }
    if (options.ifVersion() != null) {
      request.setIfVersion(options.ifVersion());
    }
    if (options.keepTtl()) {
      request.setKeep(true);
    } else if (ttl != null) {
      request.setTtl(Times.toWire(ttl));
    }
    return scope
        .core
        .caller
        .unary(Rpcs.PATCH, request.build(), scope.spec(call, options.timeout(), false, false))
        .thenApply(
            answer -> {
              boolean applied = answer.getResult() == PatchResult.PATCH_RESULT_APPLIED;
              return new Patched(
                  applied,
                  answer.getResult() == PatchResult.PATCH_RESULT_MISSING,
                  answer.getVersion(),
                  applied ? Times.toJava(answer.getTtl()) : null);
            });
  }
}
