import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import larder.v1.CacheServiceGrpc.CacheServiceBlockingStub;
import larder.v1.CacheServiceOuterClass.AbandonRequest;
import larder.v1.CacheServiceOuterClass.FetchStatus;
import larder.v1.CacheServiceOuterClass.Found;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.Lease;
import larder.v1.CacheServiceOuterClass.Outcome;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.Value;

/**
 * GetOrFetch with a lease, for values that the application computes: one caller computes, all others
 * wait for its value. Copy this file.
 *
 * <p>Values are JSON. A computation must end within the namespace's {@code lease_ttl} (10 s); use
 * FetchStream for longer ones.
 */
public final class GetOrCompute {
  /**
   * Larder is down, overloaded or slow: the application must not be. A mistake of the caller, such as
   * INVALID_ARGUMENT, is thrown.
   */
  private static final Set<Status.Code> UNAVAILABLE =
      Set.of(Status.Code.UNAVAILABLE, Status.Code.DEADLINE_EXCEEDED, Status.Code.RESOURCE_EXHAUSTED);

  /** Time limit in milliseconds for calls that must not hold the application up. */
  private static final long SHORT = 500;

  /** The last computation failed, and none is due before the back-off is over. */
  public static final class ComputeFailedException extends Exception {
    ComputeFailedException(String cause) {
      super(cause);
    }
  }

  private final CacheServiceBlockingStub larder;
  private final long timeoutNanos;

  /** The stub needs no deadline. {@code timeoutMillis} bounds the wait for another caller's value. */
  public GetOrCompute(CacheServiceBlockingStub larder, long timeoutMillis) {
    this.larder = larder;
    this.timeoutNanos = TimeUnit.MILLISECONDS.toNanos(timeoutMillis);
  }

  /**
   * Returns the cached JSON, or that which this caller or another one computes. {@code compute}
   * returns null if there is no such value; that is cached too.
   */
  public String get(String namespace, String key, Map<String, String> params, Callable<String> compute)
      throws Exception {
    long deadline = System.nanoTime() + timeoutNanos;
    while (true) {
      long left = deadline - System.nanoTime();
      if (left <= 0) {
        throw new TimeoutException(namespace + "/" + key + " is still being computed");
      }
      GetOrFetchResponse answer;
      try {
        GetOrFetchRequest request =
            GetOrFetchRequest.newBuilder()
                .setNamespace(namespace)
                .setKey(key)
                .putAllParams(params)
                .setWait(duration(left))
                .build();
        // The wait ends with `contended`. Only a Larder that is slow exceeds the deadline.
        long limit = left + TimeUnit.MILLISECONDS.toNanos(SHORT);
        answer = larder.withDeadlineAfter(limit, TimeUnit.NANOSECONDS).getOrFetch(request);
      } catch (StatusRuntimeException error) {
        if (UNAVAILABLE.contains(error.getStatus().getCode())) {
          return compute.call();
        }
        throw error;
      }
      switch (answer.getOutcomeCase()) {
        case FOUND:
          return valueOf(answer.getFound());
        case CONTENDED:
          if (answer.getFetchStatus() == FetchStatus.FETCH_STATUS_FAILED) {
            throw new ComputeFailedException(answer.getCause());
          }
          long delay = nanos(answer.getContended().getRetryAfter());
          TimeUnit.NANOSECONDS.sleep(Math.min(delay, deadline - System.nanoTime()));
          break;
        case LEASE:
          // Redis is down: no caller holds the lease, and nothing would be stored.
          return answer.getDegraded()
              ? compute.call()
              : computeUnder(answer.getLease(), namespace, key, params, compute);
        default:
          throw new IllegalStateException("unexpected answer: " + answer);
      }
    }
  }

  private String computeUnder(
      Lease lease, String namespace, String key, Map<String, String> params, Callable<String> compute)
      throws Exception {
    String value;
    try {
      value = compute.call();
    } catch (Throwable error) {
      // Also errors and interrupts: the others should not wait for the lease to expire.
      abandon(lease, namespace, key, params, error);
      if (lease.hasStale() && !(error instanceof Error) && !(error instanceof InterruptedException)) {
        return valueOf(lease.getStale());
      }
      throw error;
    }
    SetRequest fill =
        SetRequest.newBuilder()
            .setNamespace(namespace)
            .setKey(key)
            .putAllParams(params)
            .setLeaseToken(lease.getToken())
            .setValue(Value.newBuilder().setJsonBytes(json(value)))
            .build();
    // The value is right, although it may not be stored: it is too large, no JSON, or Larder is down.
    // The others must not wait for it.
    StatusRuntimeException refused = tryTo(stub -> stub.set(fill));
    if (refused != null) {
      abandon(lease, namespace, key, params, refused);
    }
    return value;
  }

  /** Callers that wait receive the reason, so it must not contain secrets. At most 256 bytes. */
  private void abandon(
      Lease lease, String namespace, String key, Map<String, String> params, Throwable error) {
    AbandonRequest abandon =
        AbandonRequest.newBuilder()
            .setNamespace(namespace)
            .setKey(key)
            .putAllParams(params)
            .setLeaseToken(lease.getToken())
            .setReason(error.getClass().getSimpleName())
            // A caller that has gone has not failed: there is no back-off.
            .setPassOn(
                error instanceof InterruptedException || error instanceof CancellationException)
            .build();
    tryTo(stub -> stub.abandon(abandon));
  }

  private interface Call {
    void on(CacheServiceBlockingStub stub);
  }

  /** Makes a short call even if this caller is cancelled or interrupted, and returns its failure. */
  private StatusRuntimeException tryTo(Call call) {
    boolean interrupted = Thread.interrupted();
    try {
      Context.ROOT.run(() -> call.on(larder.withDeadlineAfter(SHORT, TimeUnit.MILLISECONDS)));
      return null;
    } catch (StatusRuntimeException failure) {
      return failure;
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private static ByteString json(String value) {
    return ByteString.copyFromUtf8(value == null ? "null" : value);
  }

  private static String valueOf(Found found) {
    String json = found.getValue().getJson();
    return found.getOutcome() == Outcome.OUTCOME_NEGATIVE || json.equals("null") ? null : json;
  }

  private static Duration duration(long nanos) {
    return Duration.newBuilder()
        .setSeconds(nanos / 1_000_000_000)
        .setNanos((int) (nanos % 1_000_000_000))
        .build();
  }

  private static long nanos(Duration duration) {
    return duration.getSeconds() * 1_000_000_000 + duration.getNanos();
  }
}
