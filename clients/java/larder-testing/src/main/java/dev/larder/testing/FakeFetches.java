package dev.larder.testing;

import com.google.protobuf.ByteString;
import dev.larder.client.Codecs;
import dev.larder.client.ErrorFacts;
import dev.larder.client.Key;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.internal.Cancellation;
import dev.larder.client.internal.Errors;
import dev.larder.client.internal.Times;
import dev.larder.client.internal.Values;
import dev.larder.testing.FakeLeases.Backoff;
import dev.larder.testing.FakeLeases.Lost;
import dev.larder.testing.FakeStore.Entry;
import dev.larder.testing.FakeStore.Hit;
import dev.larder.testing.FakeStore.Place;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchResult;
import larder.v1.CacheServiceOuterClass.Contended;
import larder.v1.CacheServiceOuterClass.FetchError;
import larder.v1.CacheServiceOuterClass.FetchStatus;
import larder.v1.CacheServiceOuterClass.FillResult;
import larder.v1.CacheServiceOuterClass.Found;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.Lease;
import larder.v1.CacheServiceOuterClass.NotCached;
import larder.v1.CacheServiceOuterClass.Tier;
import larder.v1.CacheServiceOuterClass.Value;

/** GetOrFetch of the fake. */
final class FakeFetches {
  private static final double CONTENDED_MS = 100;
  private static final double LONGEST_WAIT_MS = 60_000;

  private final FakeLarder fake;
  private final FakeStore store;

  FakeFetches(FakeLarder fake) {
    this.fake = fake;
    this.store = fake.store;
  }

  /** Reads one entry, or grants the lease to compute it. */
  CompletableFuture<GetOrFetchResponse> getOrFetch(
      GetOrFetchRequest request, Cancellation cancellation) {
    Place place = new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
    FakeChecks.place(place, "");
    FakeNamespace settings = store.settings(place.namespace());
    double wait =
        request.hasWait() ? Times.fromWire(request.getWait()) : Times.ms(settings.leaseWait());
    Asked asked =
        new Asked(
            request,
            place,
            store.now(),
            Times.now() + Math.min(LONGEST_WAIT_MS, wait),
            cancellation);
    return asked.look(false);
  }

  /** One call. Its methods are called under the lock of the fake. */
  private final class Asked {
    private final GetOrFetchRequest request;
    private final Place place;
    private final double begun;
    private final double waitUntil;
    private final Cancellation cancellation;

    Asked(
        GetOrFetchRequest request,
        Place place,
        double begun,
        double waitUntil,
        Cancellation cancellation) {
      this.request = request;
      this.place = place;
      this.begun = begun;
      this.waitUntil = waitUntil;
      this.cancellation = cancellation;
    }

    CompletableFuture<GetOrFetchResponse> look(boolean waited) {
      if (cancellation.isCancelled()) {
        return CompletableFuture.failedFuture(cancellation.reason());
      }
      GetOrFetchResponse answer = answer(waited);
      if (answer != null) {
        return CompletableFuture.completedFuture(answer);
      }
      CompletableFuture<Void> waiting =
          fake.leases.waiting(place, waitUntil - Times.now(), FakeTimer.SHARED);
      return waiting.thenCompose(
          ignored ->
              fake.locked(
                  () -> {
                    fake.leases.forget(place, waiting);
                    return look(true);
                  }));
    }

    /** Null: the call waits for the lease of another. */
    private GetOrFetchResponse answer(boolean waited) {
      GetOrFetchResponse.Builder answer =
          GetOrFetchResponse.newBuilder().setDegraded(fake.isDegraded());
      if (fake.isDegraded()) {
        Lease lease =
            Lease.newBuilder()
                .setToken(ByteString.copyFrom(new byte[16]))
                .setExpiresIn(Times.toWire(10_000))
                .build();
        return answer.setLease(lease).build();
      }
      Hit found = store.find(place);
      // With no_cache, only a value that was computed for this call or later is an answer.
      boolean usable =
          found != null && (!request.getNoCache() || found.entry().writtenAt > begun);
      if (usable && found.fresh()) {
        fake.count(place.namespace(), waited ? "misses" : "hits");
        if (waited) {
          answer.setFetchStatus(FetchStatus.FETCH_STATUS_COALESCED);
        }
        return answer.setFound(store.found(found)).build();
      }
      Found stale = stale(found);
      if (request.getOnlyIfCached()) {
        return answer.setNotCached(NotCached.getDefaultInstance()).build();
      }
      if (store.settings(place.namespace()).origin() != null) {
        return originAnswer(answer, stale);
      }
      boolean served = stale != null && found.served();
      return missing(answer, stale, served, waited);
    }

    private Found stale(Hit found) {
      double maxStale =
          request.hasMaxStale() ? Times.fromWire(request.getMaxStale()) : Double.MAX_VALUE;
      boolean served =
          found != null
              && !found.fresh()
              && !request.getNoCache()
              && store.now() - found.entry().freshUntil < maxStale;
      return served ? store.found(found) : null;
    }

    private GetOrFetchResponse missing(
        GetOrFetchResponse.Builder answer, Found stale, boolean served, boolean waited) {
      Backoff backoff = fake.leases.backoff(place);
      if (backoff != null) {
        answer.setFetchStatus(FetchStatus.FETCH_STATUS_FAILED).setCause(backoff.cause());
        return stale != null
            ? answer.setFound(stale).build()
            : contended(answer, backoff.until() - store.now());
      }
      if (!fake.leases.isBusy(place)) {
        fake.count(place.namespace(), "misses");
        fake.count(place.namespace(), "leases_granted");
        double leaseTtl = Times.ms(store.settings(place.namespace()).leaseTtl());
        Lease.Builder lease =
            Lease.newBuilder()
                .setToken(fake.leases.grant(place))
                .setExpiresIn(Times.toWire(leaseTtl));
        if (stale != null) {
          lease.setStale(stale).setStaleWhileRevalidate(served);
        }
        return answer.setLease(lease).build();
      }
      if (served) {
        fake.count(place.namespace(), "stale");
        answer.setFetchStatus(FetchStatus.FETCH_STATUS_REFRESHING);
        return answer.setFound(stale).build();
      }
      if (!waited) {
        fake.count(place.namespace(), "leases_refused");
      }
      return waitUntil <= Times.now() ? contended(answer, CONTENDED_MS) : null;
    }

    private GetOrFetchResponse contended(GetOrFetchResponse.Builder answer, double ms) {
      fake.count(place.namespace(), "contended");
      Contended contended = Contended.newBuilder().setRetryAfter(Times.toWire(ms)).build();
      return answer.setContended(contended).build();
    }

    /** The value of the origin of a namespace, which is a function of the test. */
    private GetOrFetchResponse originAnswer(GetOrFetchResponse.Builder answer, Found stale) {
      try {
        Key key = new Key(place.key(), place.params());
        Object computed = store.settings(place.namespace()).origin().apply(key);
        Value value =
            computed == null
                ? null
                : Values.toWire(Codecs.auto(Object.class).encode(computed));
        Entry entry = store.put(place, value, null, java.util.List.of());
        fake.changed(place, Lost.SUPERSEDED);
        Found.Builder found = store.found(new Hit(entry, true, true)).toBuilder();
        found.getEntryBuilder().setTier(Tier.TIER_ORIGIN);
        return answer
            .setFound(found)
            .setFetchStatus(FetchStatus.FETCH_STATUS_FETCHED)
            .setFill(FillResult.FILL_RESULT_STORED)
            .build();
      } catch (RuntimeException error) {
        String cause = String.valueOf(error.getMessage());
        if (stale != null) {
          answer.setFetchStatus(FetchStatus.FETCH_STATUS_FAILED).setCause(cause);
          return answer.setFound(stale).build();
        }
        throw Errors.of(
            Code.UNAVAILABLE,
            "the origin of " + place.namespace() + " failed: " + cause,
            new ErrorFacts(
                "ORIGIN_UNAVAILABLE",
                null,
                null,
                Map.of("origin", place.namespace(), "cause", cause),
                error));
      }
    }
  }

  /** GetOrFetch for several keys: it waits for others only while it has no lease itself. */
  CompletableFuture<BatchGetOrFetchResponse> batch(
      BatchGetOrFetchRequest request, Cancellation cancellation) {
    BatchGetOrFetchResponse.Builder answers = BatchGetOrFetchResponse.newBuilder();
    for (KeyRef key : request.getKeysList()) {
      answers.addResults(now(request, key, cancellation));
    }
    boolean leased =
        answers.getResultsList().stream().anyMatch(each -> each.getAnswer().hasLease());
    return leased
        ? CompletableFuture.completedFuture(answers.build())
        : later(request, answers, 0, cancellation);
  }

  private BatchGetOrFetchResult now(
      BatchGetOrFetchRequest request, KeyRef key, Cancellation cancellation) {
    BatchGetOrFetchResult.Builder result = BatchGetOrFetchResult.newBuilder();
    try {
      GetOrFetchRequest one = one(request, key).setWait(Times.toWire(0)).build();
      return result.setAnswer(getOrFetch(one, cancellation).join()).build();
    } catch (LarderException error) {
      if (error.code() != Code.UNAVAILABLE) {
        throw error;
      }
      return result
          .setError(
              FetchError.newBuilder()
                  .setReason(error.reason())
                  .setMessage(error.getMessage()))
          .build();
    }
  }

  private static GetOrFetchRequest.Builder one(BatchGetOrFetchRequest request, KeyRef key) {
    GetOrFetchRequest.Builder one =
        GetOrFetchRequest.newBuilder()
            .setNamespace(key.getNamespace())
            .setKey(key.getKey())
            .putAllParams(key.getParamsMap())
            .setNoCache(request.getNoCache())
            .setOnlyIfCached(request.getOnlyIfCached());
    if (request.hasMaxStale()) {
      one.setMaxStale(request.getMaxStale());
    }
    if (request.hasWait()) {
      one.setWait(request.getWait());
    }
    return one;
  }

  private CompletableFuture<BatchGetOrFetchResponse> later(
      BatchGetOrFetchRequest request,
      BatchGetOrFetchResponse.Builder answers,
      int from,
      Cancellation cancellation) {
    for (int index = from; index < answers.getResultsCount(); index++) {
      if (answers.getResults(index).getAnswer().hasContended()) {
        int at = index;
        GetOrFetchRequest one = one(request, request.getKeys(index)).build();
        return getOrFetch(one, cancellation)
            .thenCompose(
                answer -> {
                  answers.setResults(at, BatchGetOrFetchResult.newBuilder().setAnswer(answer));
                  return answer.hasLease()
                      ? CompletableFuture.completedFuture(answers.build())
                      : fake.locked(() -> later(request, answers, at + 1, cancellation));
                });
      }
    }
    return CompletableFuture.completedFuture(answers.build());
  }
}
