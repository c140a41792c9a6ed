package dev.larder.client.internal;

import com.google.protobuf.Duration;
import dev.larder.client.Invalidated;
import dev.larder.client.Published;
import dev.larder.client.Targets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import larder.v1.CacheServiceOuterClass.Durability;
import larder.v1.CacheServiceOuterClass.EventResult;
import larder.v1.CacheServiceOuterClass.EventTarget;
import larder.v1.CacheServiceOuterClass.InvalidateNamespaceRequest;
import larder.v1.CacheServiceOuterClass.InvalidateRequest;
import larder.v1.CacheServiceOuterClass.InvalidateResponse;
import larder.v1.CacheServiceOuterClass.PatternTarget;
import larder.v1.CacheServiceOuterClass.TagTarget;
import larder.v1.CacheServiceOuterClass.Target;

/** Invalidations: at an outage they throw. */
final class Invalidations {
  private static final int TAGS_PER_TARGET = 32;

  private Invalidations() {}

  /** Makes entries unreachable. Many targets are several calls. */
  static CompletableFuture<Invalidated> invalidate(
      Scope<?> scope, CallSpec spec, Targets targets, java.time.Duration holdOff) {
    scope.core.caller.checkOpen();
    Names.checkTags(targets.tags(), "tags");
    List<Target> all = new ArrayList<>();
    targets
        .keys()
        .forEach(
            key ->
                all.add(
                    Target.newBuilder().setKey(Reads.keyRef(scope, Address.of(key))).build()));
    for (List<String> tags : Scope.chunks(targets.tags(), TAGS_PER_TARGET)) {
      TagTarget target =
          TagTarget.newBuilder().setNamespace(scope.namespace).addAllTags(tags).build();
      all.add(Target.newBuilder().setTags(target).build());
    }
    for (String glob : targets.globs()) {
      PatternTarget target =
          PatternTarget.newBuilder().setNamespace(scope.namespace).setGlob(glob).build();
      all.add(Target.newBuilder().setPattern(target).build());
    }
    Duration held = holdOff == null ? null : Times.toWire(Times.span(holdOff, "holdOff"));
    List<InvalidateResponse> answers = new ArrayList<>();
    CompletableFuture<Void> done = CompletableFuture.completedFuture(null);
    for (List<Target> part : Scope.batches(all, target -> target)) {
      InvalidateRequest.Builder request = InvalidateRequest.newBuilder().addAllTargets(part);
      if (held != null) {
        request.setHoldOff(held);
      }
      done =
          done.thenCompose(
                  ignored -> scope.core.caller.unary(Rpcs.INVALIDATE, request.build(), spec))
              .thenAccept(answers::add);
    }
    return done.thenApply(ignored -> result(answers, targets.keys().size()));
  }

  private static Invalidated result(List<InvalidateResponse> answers, int keys) {
    boolean queued = false;
    boolean whole = false;
    List<Boolean> existed = new ArrayList<>();
    for (InvalidateResponse answer : answers) {
      queued |= answer.getDurability() == Durability.DURABILITY_QUEUED;
      for (var target : answer.getResultsList()) {
        if (existed.size() < keys) {
          existed.add(target.getExisted());
        }
        whole |= target.getNamespaceInvalidated();
      }
    }
    return new Invalidated(queued, whole, List.copyOf(existed));
  }

  static CompletableFuture<Invalidated> invalidateNamespace(Scope<?> scope, CallSpec spec) {
    InvalidateNamespaceRequest request =
        InvalidateNamespaceRequest.newBuilder().setNamespace(scope.namespace).build();
    return scope
        .core
        .caller
        .unary(Rpcs.INVALIDATE_NAMESPACE, request, spec)
        .thenApply(
            answer ->
                new Invalidated(
                    answer.getDurability() == Durability.DURABILITY_QUEUED, true, List.of()));
  }

  /** Invalidates what the rules of the server select for an event. */
  static CompletableFuture<Published> publish(
      Core core, CallSpec spec, String name, Map<String, String> attributes) {
    EventTarget event =
        EventTarget.newBuilder().setName(name).putAllAttributes(attributes).build();
    InvalidateRequest request =
        InvalidateRequest.newBuilder()
            .addTargets(Target.newBuilder().setEvent(event))
            .build();
    return core.caller
        .unary(Rpcs.INVALIDATE, request, spec)
        .thenApply(
            answer ->
                new Published(
                    answer.getEventsList().stream().mapToInt(EventResult::getTargetsCount).sum(),
                    answer.getDurability() == Durability.DURABILITY_QUEUED));
  }
}
