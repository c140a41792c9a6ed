package dev.larder.client.internal;

import dev.larder.client.ErrorFacts;
import dev.larder.client.FetchOptions;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.LoadContext;
import dev.larder.client.Result;
import dev.larder.client.WriteResult;
import dev.larder.client.WriteResult.NotStored;
import dev.larder.client.WriteResult.Reason;
import dev.larder.client.internal.Counters.Name;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchResult;
import larder.v1.CacheServiceOuterClass.FetchError;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.Lease;

/** One call of getOrFetchMany. */
final class FetchMany<K, V> {
  /** A loader of several keys, of either kind. */
  @FunctionalInterface
  interface LoadMany<K, V> {
    CompletableFuture<? extends Map<K, ? extends V>> begin(
        List<K> keys, LoadContext context, Executor executor);
  }

  private record Wanted<K>(K key, Address address, KeyRef ref) {}

  private final Scope<V> scope;
  private final Call call;
  private final LoadMany<K, V> loader;
  private final FetchOptions options;
  private final double deadline;
  private final Map<K, Result<V>> results = new HashMap<>();

  /** Keys whose values cannot be decoded: asked for again, so that they have leases. */
  private final List<Wanted<K>> undecodable = new ArrayList<>();

  private boolean refresh;

  FetchMany(Scope<V> scope, Call call, LoadMany<K, V> loader, FetchOptions options) {
    this.scope = scope;
    this.call = call;
    this.loader = loader;
    this.options = options;
    double budget =
        options.timeout() == null
            ? scope.core.limits.waiting()
            : Times.span(options.timeout(), "timeout");
    this.deadline = Times.now() + budget;
    this.refresh = options.refresh();
  }

  /** Reads values; those that are missing are computed together. */
  static <K, V> CompletableFuture<Map<K, Result<V>>> getOrFetchMany(
      Scope<V> scope,
      Call call,
      Iterable<K> keys,
      LoadMany<K, V> loader,
      FetchOptions options) {
    scope.core.caller.checkOpen();
    Names.checkTags(options.tags(), "tags");
    Set<K> distinct = new LinkedHashSet<>();
    List<Wanted<K>> wanted = new ArrayList<>();
    for (K key : keys) {
      if (distinct.add(key)) {
        Address address = Address.ofAny(key);
        wanted.add(new Wanted<>(key, address, Reads.keyRef(scope, address)));
      }
    }
    Cancellation ending = scope.core.running.open(call.cancellation());
    FetchMany<K, V> fetch =
        new FetchMany<>(scope, call.with(ending), loader, options);
    CompletableFuture<Map<K, Result<V>>> answer =
        fetch.parts(wanted, true).thenCompose(ignored -> fetch.replace()).thenApply(
            ignored -> {
              // The map has the order of the keys, not that of the answers.
              Map<K, Result<V>> ordered = new LinkedHashMap<>();
              wanted.forEach(
                  one -> ordered.put(one.key(), fetch.results.get(one.key())));
              return ordered;
            });
    answer.whenComplete((value, error) -> scope.core.running.end(ending));
    scope.core.background.track(answer);
    return answer;
  }

  private CompletableFuture<Void> parts(List<Wanted<K>> wanted, boolean first) {
    CompletableFuture<Void> done = CompletableFuture.completedFuture(null);
    for (List<Wanted<K>> part : Scope.batches(wanted, Wanted::ref)) {
      done = done.thenCompose(ignored -> part(part, first));
    }
    return done;
  }

  /** Values that cannot be decoded are replaced by those of the loader, together. */
  private CompletableFuture<Void> replace() {
    if (undecodable.isEmpty()) {
      return CompletableFuture.completedFuture(null);
    }
    refresh = true;
    return parts(undecodable, false);
  }

  /** The answers of the server to a part, sorted. */
  private final class Answers {
    final List<Missing<K, V>> missing = new ArrayList<>();
    final List<Wanted<K>> contended = new ArrayList<>();
    double retryAfter = Double.POSITIVE_INFINITY;
  }

  private CompletableFuture<Void> part(List<Wanted<K>> part, boolean first) {
    return ask(part, first)
        .thenCompose(
            answers ->
                load(answers.missing).thenCompose(ignored -> later(answers)));
  }

  private CompletableFuture<Void> later(Answers answers) {
    if (answers.contended.isEmpty()) {
      return CompletableFuture.completedFuture(null);
    }
    if (Times.now() + answers.retryAfter < deadline) {
      return scope
          .core
          .timer
          .sleep(answers.retryAfter, call.cancellation())
          .thenCompose(slept -> part(answers.contended, false));
    }
    if (loader == null) {
      answers.contended.forEach(one -> results.put(one.key(), Results.miss(false, null)));
      return CompletableFuture.completedFuture(null);
    }
    NotStored why = Results.notStored(Reason.NOT_STORED, false, null);
    return load(
        answers.contended.stream()
            .map(one -> new Missing<K, V>(one.key(), null, why, null, false))
            .toList());
  }

  /** Asks the server once, and keeps what it answers. */
  private CompletableFuture<Answers> ask(List<Wanted<K>> part, boolean first) {
    double wait =
        Math.min(scope.core.limits.waiting(), Math.max(0, deadline - Times.now()));
    BatchGetOrFetchRequest.Builder request =
        BatchGetOrFetchRequest.newBuilder()
            .setWait(Times.toWire(wait))
            .setNoCache(refresh)
            .setConsistency(Reads.consistency(options.read(), false));
    part.forEach(one -> request.addKeys(one.ref()));
    Reads.maxStale(options.read()).ifPresent(request::setMaxStale);
    Reads.touch(options.read()).ifPresent(request::setTouch);
    CallSpec spec =
        scope.spec(call, wait + scope.core.limits.waitMargin(), true, true);
    return Futures.then(
        scope.core.caller.collect(
            Rpcs.BATCH_GET_OR_FETCH, request.build(), spec, lost -> passOn(part, lost)),
        (messages, error) -> {
          Answers answers = new Answers();
          if (error != null) {
            if (!scope.failsOpen(error)) {
              return Futures.failed(error);
            }
            part.forEach(one -> away(one.key(), error, answers));
            return CompletableFuture.completedFuture(answers);
          }
          takeAll(part, messages, first, answers);
          return CompletableFuture.completedFuture(answers);
        });
  }

  private void takeAll(
      List<Wanted<K>> part,
      List<BatchGetOrFetchResponse> messages,
      boolean first,
      Answers answers) {
    List<BatchGetOrFetchResult> all = new ArrayList<>();
    messages.forEach(message -> all.addAll(message.getResultsList()));
    Throwable failure = null;
    for (int index = 0; index < part.size(); index++) {
      BatchGetOrFetchResult result =
          index < all.size() ? all.get(index) : BatchGetOrFetchResult.getDefaultInstance();
      try {
        take(part.get(index), result, first, answers);
      } catch (Throwable error) {
        failure = failure == null ? error : failure;
      }
    }
    if (failure != null) {
      // The call ends here, and with it what it has leases for.
      answers.missing.stream()
          .filter(one -> one.lease() != null)
          .forEach(one -> one.lease().passOn());
      throw Errors.<RuntimeException>sneaky(failure);
    }
  }

  /** Gives up the leases of an answer that was cut off. */
  private void passOn(List<Wanted<K>> part, List<BatchGetOrFetchResponse> lost) {
    int index = 0;
    for (BatchGetOrFetchResponse message : lost) {
      for (BatchGetOrFetchResult result : message.getResultsList()) {
        GetOrFetchResponse answer = result.getAnswer();
        if (index < part.size() && answer.hasLease() && !answer.getDegraded()) {
          new HeldLease<>(scope, part.get(index).address(), answer.getLease(), call).passOn();
        }
        index++;
      }
    }
  }

  private void take(
      Wanted<K> one, BatchGetOrFetchResult result, boolean first, Answers answers) {
    if (result.hasError()) {
      FetchError failure = result.getError();
      ErrorFacts facts = ErrorFacts.of(failure.getReason());
      if (failure.hasRetryAfter()) {
        facts = facts.withRetryAfter(Times.toJava(failure.getRetryAfter()));
      }
      LarderException error = Errors.of(Code.UNAVAILABLE, failure.getMessage(), facts);
      if (!scope.failsOpen(error)) {
        throw error;
      }
      away(one.key(), error, answers);
      return;
    }
    GetOrFetchResponse answer = result.getAnswer();
    if (answer.hasFound()) {
      Result<V> read = Results.read(scope, answer.getFound(), answer.getDegraded());
      if (read instanceof Result.Miss<V> && loader != null) {
        if (!refresh) {
          undecodable.add(one);
          return;
        }
        // Another caller has stored such a value again, as an older release may do.
        NotStored why =
            Results.notStored(Reason.NOT_STORED, false, read.facts().error());
        answers.missing.add(new Missing<>(one.key(), null, why, null, false));
      } else {
        results.put(one.key(), read);
      }
      return;
    }
    if (first) {
      scope.count.add(Name.MISSES);
    }
    if (answer.hasLease()) {
      leased(one, answer.getLease(), answer.getDegraded(), answers);
    } else {
      answers.contended.add(one);
      double delay = Fetch.retryDelay(answer).orElse(Double.POSITIVE_INFINITY);
      answers.retryAfter = Math.min(answers.retryAfter, delay);
    }
  }

  private void away(K key, Throwable error, Answers answers) {
    if (loader == null) {
      scope.count.add(Name.MISSES);
      results.put(key, Results.miss(true, error));
    } else {
      NotStored why = Results.notStored(Reason.UNAVAILABLE, true, error);
      answers.missing.add(new Missing<>(key, null, why, null, false));
    }
  }

  private void leased(Wanted<K> one, Lease lease, boolean degraded, Answers answers) {
    Result<V> read = lease.hasStale() ? Results.read(scope, lease.getStale(), degraded) : null;
    Result<V> stale = read != null && read.found() ? read : null;
    HeldLease<V> held =
        degraded ? null : new HeldLease<>(scope, one.address(), lease, call);
    if (loader == null) {
      if (held != null) {
        held.passOn();
      }
      results.put(one.key(), stale != null ? stale : Results.miss(degraded, null));
    } else {
      NotStored why = degraded ? Results.notStored(Reason.DEGRADED, true, null) : null;
      boolean meanwhile = held != null && stale != null && lease.getStaleWhileRevalidate();
      answers.missing.add(new Missing<>(one.key(), held, why, stale, meanwhile));
    }
  }

  /** Computes what is missing: stale values in the background, if there is room for that. */
  private CompletableFuture<Void> load(List<Missing<K, V>> missing) {
    List<Missing<K, V>> now = new ArrayList<>();
    List<Missing<K, V>> later = new ArrayList<>();
    for (Missing<K, V> one : missing) {
      (one.meanwhile() ? later : now).add(one);
    }
    later.forEach(one -> results.put(one.key(), one.stale()));
    if (!later.isEmpty()) {
      boolean started =
          scope.core.background.start(
              ending -> refresh(later, call.apart(ending, scope.core.workers)));
      if (!started) {
        now.addAll(later);
      }
    }
    return now.isEmpty()
        ? CompletableFuture.completedFuture(null)
        : compute(now, call, results);
  }

  private CompletableFuture<?> refresh(List<Missing<K, V>> missing, Call own) {
    return compute(missing, own, new HashMap<>())
        .whenComplete(
            (value, error) -> {
              if (error != null && !own.cancellation().isCancelled()) {
                scope.core.warn(
                    "stale values of "
                        + scope.namespace
                        + " are not refreshed: "
                        + Errors.unwrap(error));
              }
            });
  }

  private CompletableFuture<Void> compute(
      List<Missing<K, V>> missing, Call own, Map<K, Result<V>> into) {
    scope.count.add(Name.LOADS);
    LoadContext context = new LoadContext(own.cancellation());
    List<K> keys = missing.stream().map(Missing::key).toList();
    CompletableFuture<Map<K, ? extends V>> loaded =
        Futures.until(
            own.cancellation(),
            loader.begin(keys, context, own.loaders()).thenApply(values -> values));
    return Futures.then(
        loaded,
        (values, error) -> {
          if (error == null && values == null) {
            return failed(missing, own, new NullPointerException("loader: returned null"), into);
          }
          if (error != null) {
            return failed(missing, own, error, into);
          }
          try {
            return new Fills<>(scope, missing, values, context, options, own.detached())
                .store()
                .thenAccept(stored -> finish(missing, values, context, stored, into));
          } catch (Throwable failure) {
            // A codec or a map of the program that fails: its error is the caller's.
            missing.stream()
                .filter(one -> one.lease() != null)
                .forEach(one -> one.lease().passOn());
            return Futures.failed(failure);
          }
        });
  }

  private CompletableFuture<Void> failed(
      List<Missing<K, V>> missing, Call own, Throwable error, Map<K, Result<V>> into) {
    boolean left = own.cancellation().isCancelled() || error instanceof LoaderInterrupted;
    for (Missing<K, V> one : missing) {
      if (one.lease() != null && left) {
        one.lease().passOn();
      } else if (one.lease() != null) {
        one.lease().abandon(error);
      }
    }
    if (!left) {
      scope.count.add(Name.LOAD_ERRORS);
    }
    if (left || missing.stream().anyMatch(one -> one.stale() == null)) {
      return Futures.failed(error);
    }
    missing.forEach(one -> into.put(one.key(), Results.withError(one.stale(), error)));
    return CompletableFuture.completedFuture(null);
  }

  private void finish(
      List<Missing<K, V>> missing,
      Map<K, ? extends V> values,
      LoadContext context,
      Map<K, WriteResult> stored,
      Map<K, Result<V>> into) {
    for (Missing<K, V> one : missing) {
      if (!values.containsKey(one.key())) {
        into.put(one.key(), one.stale() != null ? one.stale() : Results.miss(false, null));
        continue;
      }
      WriteResult result = one.why() != null ? one.why() : stored.get(one.key());
      Throwable error = one.why() == null ? null : one.why().error();
      into.put(
          one.key(),
          Results.loaded(
              values.get(one.key()), result, context.tags(), result.degraded(), error));
    }
  }
}
