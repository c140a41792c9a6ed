package dev.larder.client.internal;

import dev.larder.client.Codec;
import dev.larder.client.FetchOptions;
import dev.larder.client.LoadContext;
import dev.larder.client.ReadOptions;
import dev.larder.client.Result;
import dev.larder.client.Tier;
import dev.larder.client.WriteResult;
import dev.larder.client.WriteResult.NotStored;
import dev.larder.client.WriteResult.Reason;
import dev.larder.client.internal.Counters.Name;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import larder.v1.CacheServiceOuterClass.Found;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse.OutcomeCase;
import larder.v1.CacheServiceOuterClass.Lease;

/** One computation: what it needs from its first caller. */
final class Fetch<V> {
  private static final double RETRY_SHARE = 0.5;
  private static final double MIN_RETRY_MS = 10;

  private final Scope<V> scope;
  private final Address address;
  private final Load<V> loader;
  private final FetchOptions options;
  private final double budget;

  private Fetch(Scope<V> scope, Address address, Load<V> loader, FetchOptions options) {
    this.scope = scope;
    this.address = address;
    this.loader = loader;
    this.options = options;
    this.budget =
        options.timeout() == null
            ? scope.core.limits.waiting()
            : Times.span(options.timeout(), "timeout");
  }

  private record Id(
      String namespace,
      Address address,
      boolean computes,
      boolean consistent,
      Duration maxStale,
      boolean raises,
      Codec<?> codec) {}

  private record Loaded<V>(V value, LoadContext context) {}

  /** Reads a value; one that is missing is computed once by all processes. */
  static <V> CompletableFuture<Result<V>> getOrFetch(
      Scope<V> scope, Call call, Address address, Load<V> loader, FetchOptions options) {
    scope.core.caller.checkOpen();
    Names.checkTags(options.tags(), "tags");
    NearCache<V> near = options.refresh() ? null : Reads.nearOf(scope, options.read());
    Result<V> held = near == null ? null : near.get(address);
    if (held != null) {
      return CompletableFuture.completedFuture(Reads.nearHit(scope, held));
    }
    Fetch<V> fetch = new Fetch<>(scope, address, loader, options);
    Flights.Passenger<V> passenger =
        new Flights.Passenger<>(
            fetch.id(),
            scope.namespace,
            address.key(),
            call,
            options.timeout() == null ? Double.POSITIVE_INFINITY : fetch.budget,
            fetch::run);
    return scope
        .core
        .flights
        .run(passenger)
        .thenCompose(
            answer -> {
              if (answer == null) {
                return fetch.alone(call);
              }
              Result<V> result = answer.result();
              if (!answer.joined()) {
                return CompletableFuture.completedFuture(result);
              }
              if (result.facts().tier() == Tier.LOADER) {
                scope.count.add(Name.JOINED);
              }
              return CompletableFuture.completedFuture(
                  Results.with(result, result.facts().asJoined()));
            });
  }

  /** Milliseconds until a contended key is asked for again. Empty: it is not contended. */
  static Optional<Double> retryDelay(GetOrFetchResponse answer) {
    // An outcome that this release does not have is no reason to ask again.
    if (answer.getOutcomeCase() != OutcomeCase.CONTENDED) {
      return Optional.empty();
    }
    double retryAfter = Times.fromWire(answer.getContended().getRetryAfter());
    return Optional.of(Math.max(MIN_RETRY_MS, retryAfter * Times.random(RETRY_SHARE, 1)));
  }

  /** Equal for calls of this process that can share a computation. */
  private Object id() {
    if (options.refresh()) {
      // Its value must not be one whose computation began before it.
      return new Object();
    }
    ReadOptions read = options.read();
    return new Id(
        scope.namespace,
        address,
        loader != null,
        read.consistent(),
        read.maxStale(),
        scope.raise,
        scope.codec);
  }

  private CompletableFuture<Result<V>> run(Call call) {
    return ask(call, Times.now() + budget, options.refresh(), true);
  }

  private CompletableFuture<Result<V>> ask(
      Call call, double deadline, boolean refresh, boolean first) {
    double wait =
        Math.min(scope.core.limits.waiting(), Math.max(0, deadline - Times.now()));
    NearCache<V> near = Reads.nearOf(scope, options.read());
    NearCache.Pending pending = near == null ? null : near.begin(address);
    CompletableFuture<GetOrFetchResponse> asked;
    try {
      asked = scope.core.caller.unary(
          Rpcs.GET_OR_FETCH,
          request(wait, refresh, pending != null),
          scope.spec(call, wait + scope.core.limits.waitMargin(), true, true));
    } catch (RuntimeException error) {
      asked = Futures.failed(error);
    }
    return Futures.then(
        asked,
        (answer, error) -> {
          if (error == null) {
            return answered(call, answer, deadline, refresh, first, near, pending);
          }
          if (pending != null) {
            near.end(pending, null, null);
          }
          if (!scope.failsOpen(error)) {
            return Futures.failed(error);
          }
          if (loader != null) {
            NotStored why = Results.notStored(Reason.UNAVAILABLE, true, error);
            return unstored(call, why, error, null);
          }
          scope.count.add(Name.MISSES);
          return CompletableFuture.completedFuture(Results.miss(true, error));
        });
  }

  private GetOrFetchRequest request(double wait, boolean refresh, boolean consistent) {
    GetOrFetchRequest.Builder request =
        GetOrFetchRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setKey(address.key())
            .putAllParams(address.params())
            .setWait(Times.toWire(wait))
            .setNoCache(refresh)
            .setConsistency(Reads.consistency(options.read(), consistent));
    Reads.maxStale(options.read()).ifPresent(request::setMaxStale);
    Reads.touch(options.read()).ifPresent(request::setTouch);
    return request.build();
  }

  private CompletableFuture<Result<V>> answered(
      Call call,
      GetOrFetchResponse answer,
      double deadline,
      boolean refresh,
      boolean first,
      NearCache<V> near,
      NearCache.Pending pending) {
    boolean degraded = answer.getDegraded();
    Found found = answer.hasFound() ? answer.getFound() : null;
    Result<V> result = found == null ? null : Results.read(scope, found, degraded);
    if (pending != null) {
      near.end(pending, result, found == null ? null : found.getValue());
    }
    if (result != null) {
      boolean undecodable = result instanceof Result.Miss<V>;
      if (!undecodable || loader == null) {
        return CompletableFuture.completedFuture(result);
      }
      if (refresh) {
        // Another caller has stored such a value again, as an older release may do.
        Throwable unread = result.facts().error();
        return unstored(call, Results.notStored(Reason.NOT_STORED, degraded, unread), unread, null);
      }
      // A value that cannot be decoded is replaced by one that can.
      return ask(call, deadline, true, false);
    }
    if (first) {
      scope.count.add(Name.MISSES);
    }
    if (answer.hasLease()) {
      return leased(call, answer.getLease(), degraded);
    }
    Throwable failed =
        answer.getCause().isEmpty() ? null : new IllegalStateException(answer.getCause());
    if (loader == null) {
      return CompletableFuture.completedFuture(Results.miss(degraded, failed));
    }
    Optional<Double> delay = retryDelay(answer);
    if (delay.isEmpty() || Times.now() + delay.get() >= deadline) {
      NotStored why = Results.notStored(Reason.NOT_STORED, degraded, failed);
      return unstored(call, why, null, null);
    }
    return scope
        .core
        .timer
        .sleep(delay.get(), call.cancellation())
        .thenCompose(slept -> ask(call, deadline, refresh, false));
  }

  /** The answer of a call for which the computation that it joined takes too long. */
  private CompletableFuture<Result<V>> alone(Call call) {
    scope.count.add(Name.MISSES);
    if (loader == null) {
      return CompletableFuture.completedFuture(Results.miss(false, null));
    }
    return unstored(call, Results.notStored(Reason.NOT_STORED, false, null), null, null);
  }

  private CompletableFuture<Result<V>> leased(Call call, Lease lease, boolean degraded) {
    Result<V> stale = lease.hasStale() ? Results.read(scope, lease.getStale(), degraded) : null;
    Result<V> usable = stale != null && stale.found() ? stale : null;
    if (loader == null) {
      // Nothing computes the value here: a caller with a loader gets the lease.
      if (!degraded) {
        new HeldLease<>(scope, address, lease, call).passOn();
      }
      return CompletableFuture.completedFuture(
          usable != null ? usable : Results.miss(degraded, null));
    }
    if (degraded) {
      return unstored(call, Results.notStored(Reason.DEGRADED, true, null), null, usable);
    }
    HeldLease<V> held = new HeldLease<>(scope, address, lease, call);
    // Another stale value is only a substitute, if the loader fails.
    if (usable != null && lease.getStaleWhileRevalidate()) {
      boolean started =
          scope.core.background.start(
              ending -> refresh(held, call.apart(ending, scope.core.workers)));
      if (started) {
        return CompletableFuture.completedFuture(usable);
      }
    }
    return compute(held, call, usable);
  }

  /** Computes in the background, where no caller sees an error. */
  private CompletableFuture<?> refresh(HeldLease<V> held, Call call) {
    return compute(held, call, null)
        .whenComplete(
            (value, error) -> {
              if (error != null && !call.cancellation().isCancelled()) {
                scope.core.warn(
                    "a stale value of "
                        + scope.namespace
                        + " is not refreshed: "
                        + Errors.unwrap(error));
              }
            });
  }

  private CompletableFuture<Result<V>> compute(
      HeldLease<V> held, Call call, Result<V> stale) {
    return Futures.then(
        load(call),
        (loaded, error) -> {
          if (error == null) {
            return store(held, loaded, call)
                .thenApply(
                    stored ->
                        Results.loaded(
                            loaded.value(), stored, loaded.context().tags(), false, null));
          }
          if (call.cancellation().isCancelled() || error instanceof LoaderInterrupted) {
            held.passOn();
            return Futures.failed(error);
          }
          held.abandon(error);
          return stale == null
              ? Futures.failed(error)
              : CompletableFuture.completedFuture(Results.withError(stale, error));
        });
  }

  private CompletableFuture<WriteResult> store(HeldLease<V> held, Loaded<V> loaded, Call call) {
    HeldLease.Fill fill;
    try {
      fill = held.fill(loaded.value(), loaded.context(), options);
    } catch (Throwable error) {
      // A codec of the program that fails: its error is the caller's, and the lease is given up.
      held.passOn();
      return Futures.failed(error);
    }
    if (fill.request() == null) {
      WriteResult refused = held.refuse(fill);
      held.release();
      return CompletableFuture.completedFuture(refused);
    }
    // The work is done, so that the value is stored although its callers may leave.
    CallSpec spec = scope.spec(call.detached(), (Duration) null, false, false);
    return Futures.then(
        Feeds.changing(
            scope,
            feed -> feed.keyChanged(address.key()),
            () -> scope.core.caller.unary(Rpcs.SET, fill.request(), spec)),
        (answer, error) -> {
          held.release();
          if (error == null) {
            return CompletableFuture.completedFuture(HeldLease.filled(scope, answer));
          }
          held.passOn();
          return CompletableFuture.completedFuture(HeldLease.unfilled(scope, error));
        });
  }

  private CompletableFuture<Loaded<V>> load(Call call) {
    if (call.cancellation().isCancelled()) {
      return Futures.failed(call.cancellation().reason());
    }
    scope.count.add(Name.LOADS);
    LoadContext context = new LoadContext(call.cancellation());
    CompletableFuture<V> value =
        Futures.until(call.cancellation(), loader.begin(context, call.loaders()));
    return Futures.then(
        value,
        (loaded, error) -> {
          if (error == null) {
            return CompletableFuture.completedFuture(new Loaded<>(loaded, context));
          }
          if (!call.cancellation().isCancelled()) {
            scope.count.add(Name.LOAD_ERRORS);
          }
          return Futures.failed(error);
        });
  }

  /** Computes without the cache. */
  private CompletableFuture<Result<V>> unstored(
      Call call, NotStored why, Throwable error, Result<V> stale) {
    return Futures.then(
        load(call),
        (loaded, failure) -> {
          if (failure == null) {
            return CompletableFuture.completedFuture(
                Results.loaded(
                    loaded.value(), why, loaded.context().tags(), why.degraded(), error));
          }
          boolean left =
              call.cancellation().isCancelled() || failure instanceof LoaderInterrupted;
          if (stale == null || left) {
            return Futures.failed(failure);
          }
          return CompletableFuture.completedFuture(Results.withError(stale, failure));
        });
  }
}
