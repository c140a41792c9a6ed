package dev.larder.client.internal;

import dev.larder.client.EncodeException;
import dev.larder.client.FetchOptions;
import dev.larder.client.LarderException;
import dev.larder.client.LoadContext;
import dev.larder.client.WriteResult;
import dev.larder.client.WriteResult.NotStored;
import dev.larder.client.WriteResult.Reason;
import dev.larder.client.internal.Counters.Name;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import larder.v1.CacheServiceOuterClass.AbandonRequest;
import larder.v1.CacheServiceOuterClass.DeleteRequest;
import larder.v1.CacheServiceOuterClass.Lease;
import larder.v1.CacheServiceOuterClass.RenewRequest;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.SetResponse;

/** A lease that this process holds. It is renewed until it is released. */
final class HeldLease<V> {
  private static final int MAX_REASON_BYTES = 256;

  /** The shortest time between two renewals, whatever the server says. */
  private static final double MIN_RENEWAL_MS = 10;

  private final Scope<V> scope;
  private final Address address;
  private final Lease lease;
  private final Call call;
  private volatile ScheduledFuture<?> timer;
  private volatile Reason lost;
  private volatile boolean released;

  HeldLease(Scope<V> scope, Address address, Lease lease, Call call) {
    this.scope = scope;
    this.address = address;
    this.lease = lease;
    // Its calls are made although the callers have left.
    this.call = call.detached();
    schedule(Times.fromWire(lease.getExpiresIn()));
  }

  /** The call that follows a fill that is not sent. */
  enum Then {
    ABANDON,
    DELETE,
    NOTHING
  }

  /** A request of a fill, or why there is none. */
  record Fill(SetRequest request, NotStored refused, Then then) {}

  private void schedule(double expiresIn) {
    if (!released) {
      timer =
          scope.core.timer.after(
              Math.max(MIN_RENEWAL_MS, expiresIn / 3), () -> renew(expiresIn));
    }
  }

  private void renew(double expiresIn) {
    if (released) {
      return;
    }
    RenewRequest request =
        RenewRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .setLeaseToken(lease.getToken())
            .build();
    scope
        .core
        .caller
        .unary(Rpcs.RENEW, request, spec())
        .whenComplete(
            (answer, error) -> {
              double next = expiresIn;
              // After an error the lease may still be held: the next renewal, or the fill, finds
              // out.
              if (error == null) {
                switch (answer.getResult()) {
                  case RENEW_RESULT_LEASE_LOST -> lost = Reason.LEASE_LOST;
                  case RENEW_RESULT_INVALIDATED -> lost = Reason.INVALIDATED;
                  case RENEW_RESULT_SUPERSEDED -> lost = Reason.SUPERSEDED;
                  default -> next = answer.hasExpiresIn()
                      ? Times.fromWire(answer.getExpiresIn())
                      : expiresIn;
                }
              }
              if (lost == null) {
                schedule(next);
              }
            });
  }

  private CallSpec spec() {
    return scope.spec(call, (Duration) null, true, false);
  }

  /** Ends the renewals. */
  void release() {
    released = true;
    ScheduledFuture<?> running = timer;
    if (running != null) {
      running.cancel(false);
    }
  }

  /** The fill of a value: a request, or why there is none. */
  Fill fill(V value, LoadContext context, FetchOptions options) {
    if (!context.store()) {
      return new Fill(null, Results.notStored(Reason.NOT_STORED, false, null), Then.ABANDON);
    }
    Double ttl = scope.ttlOf(context.ttl() != null ? context.ttl() : options.ttl());
    if (ttl != null && ttl <= 0) {
      return new Fill(null, Results.notStored(Reason.EXPIRED, false, null), Then.DELETE);
    }
    if (lost != null) {
      return new Fill(null, Results.notStored(lost, false, null), Then.NOTHING);
    }
    try {
      List<String> own = new ArrayList<>(options.tags());
      own.addAll(context.tags());
      SetRequest.Builder request =
          SetRequest.newBuilder()
              .setNamespace(scope.namespace)
              .setKey(address.key())
              .putAllParams(address.params())
              .setValue(Values.toWire(scope.codec.encode(value)))
              .addAllTags(scope.tagsOf(own))
              .setLeaseToken(lease.getToken());
      if (ttl != null) {
        request.setTtl(Times.toWire(ttl));
      }
      return new Fill(request.build(), null, Then.NOTHING);
    } catch (EncodeException error) {
      return new Fill(null, Results.notStored(Reason.NOT_ENCODABLE, false, error), Then.ABANDON);
    }
  }

  /** Counts a fill that is not sent, and does what follows. */
  WriteResult refuse(Fill fill) {
    scope.count.add(Name.FILLS_REFUSED);
    if (fill.then() == Then.ABANDON) {
      passOn();
    } else if (fill.then() == Then.DELETE) {
      delete();
    }
    return fill.refused();
  }

  /** Gives the lease up, so that the next caller receives it at once. */
  void passOn() {
    abandon("", true);
  }

  /** Gives the lease up after a failure. */
  void abandon(Throwable failure) {
    String name = failure.getClass().getSimpleName();
    abandon(name.isEmpty() ? failure.getClass().getName() : name, false);
  }

  private void abandon(String reason, boolean passOn) {
    release();
    AbandonRequest request =
        AbandonRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .setLeaseToken(lease.getToken())
            .setReason(Values.cut(reason, MAX_REASON_BYTES))
            .setPassOn(passOn)
            .build();
    part(scope.core.caller.unary(Rpcs.ABANDON, request, spec().asParting()));
  }

  /** Removes the entry, which also ends the lease. */
  private void delete() {
    DeleteRequest request =
        DeleteRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .build();
    part(
        Feeds.changing(
            scope,
            feed -> feed.keyChanged(address.key()),
            () -> scope.core.caller.unary(Rpcs.DELETE, request, spec().asParting())));
  }

  private void part(CompletableFuture<?> sent) {
    // Without this call the lease ends by itself. Its error is counted.
    scope.core.background.track(sent);
  }

  /** Counts a fill that was refused. */
  static WriteResult filled(Scope<?> scope, SetResponse answer) {
    WriteResult result = Results.written(answer);
    if (!result.stored()) {
      scope.count.add(Name.FILLS_REFUSED);
    }
    return result;
  }

  /**
   * The result of a fill that has failed; throws a mistake. A value over the limit is no mistake
   * here: the loader's value is still the caller's.
   */
  static WriteResult unfilled(Scope<?> scope, Throwable error) {
    boolean tooLarge =
        error instanceof LarderException failure && failure.reason().equals("VALUE_TOO_LARGE");
    if (!tooLarge && (scope.raise || !Errors.isOutage(error))) {
      throw Errors.<RuntimeException>sneaky(error);
    }
    scope.count.add(Name.FILLS_REFUSED);
    if (tooLarge) {
      return Results.notStored(Reason.NOT_STORED, false, error);
    }
    scope.count.add(Name.FAIL_OPEN);
    return Results.notStored(Reason.UNAVAILABLE, true, error);
  }
}
