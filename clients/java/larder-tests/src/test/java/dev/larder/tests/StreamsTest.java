package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import dev.larder.client.ErrorFacts;
import dev.larder.client.FetchOptions;
import dev.larder.client.LarderClient;
import dev.larder.client.LarderException.Code;
import dev.larder.client.Result;
import dev.larder.client.UnauthenticatedException;
import dev.larder.client.Watch;
import dev.larder.client.internal.Access;
import dev.larder.client.internal.Errors;
import dev.larder.client.internal.Rpcs;
import dev.larder.client.internal.Transport;
import io.grpc.MethodDescriptor;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import larder.v1.CacheServiceOuterClass.AbandonResponse;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchResult;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.Lease;
import org.junit.jupiter.api.Test;

/** Streams that break. */
class StreamsTest {
  private static void await(BooleanSupplier condition) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() < deadline, "it does not come");
      Thread.sleep(10);
    }
  }

  /** Grants leases in a stream that breaks, and refuses watches. */
  private static final class Breaking implements Transport {
    final AtomicInteger streams = new AtomicInteger();
    final AtomicInteger abandoned = new AtomicInteger();

    @Override
    public boolean renewsToken() {
      return true;
    }

    @Override
    @SuppressWarnings("unchecked") // Only these calls are made.
    public <Q, R> CompletableFuture<R> unary(
        MethodDescriptor<Q, R> method, Q request, Attempt attempt) {
      assertEquals(Rpcs.ABANDON.getFullMethodName(), method.getFullMethodName());
      abandoned.incrementAndGet();
      return CompletableFuture.completedFuture((R) AbandonResponse.getDefaultInstance());
    }

    @Override
    @SuppressWarnings("unchecked") // As above.
    public <Q, R> Flow stream(
        MethodDescriptor<Q, R> method, Q request, Attempt attempt, Sink<R> sink) {
      streams.incrementAndGet();
      if (method.getFullMethodName().equals(Rpcs.WATCH.getFullMethodName())) {
        sink.end(Errors.of(Code.UNAUTHENTICATED, "refused", ErrorFacts.of("")));
        return () -> {};
      }
      Lease lease =
          Lease.newBuilder()
              .setToken(ByteString.copyFrom(new byte[16]))
              .setExpiresIn(Duration.newBuilder().setSeconds(10))
              .build();
      BatchGetOrFetchResult result =
          BatchGetOrFetchResult.newBuilder()
              .setAnswer(GetOrFetchResponse.newBuilder().setLease(lease))
              .build();
      sink.message((R) BatchGetOrFetchResponse.newBuilder().addResults(result).build());
      sink.end(Errors.of(Code.INTERNAL, "cut off", ErrorFacts.of("")));
      return () -> {};
    }

    @Override
    public CompletableFuture<Void> connect(double timeoutMs) {
      return CompletableFuture.completedFuture(null);
    }

    @Override
    public void close() {}
  }

  @Test
  void leasesOfAnAnswerThatIsCutOffAreGivenUp() throws Exception {
    Breaking breaking = new Breaking();
    try (LarderClient client =
        Access.client(LarderClient.builder().logger(null).telemetry(false), breaking)) {
      Map<String, Result<String>> results =
          client
              .namespace("names", String.class)
              .getOrFetchMany(
                  List.of("a", "b"),
                  (keys, load) -> keys.stream().collect(Collectors.toMap(key -> key, key -> key)),
                  FetchOptions.DEFAULTS);
      assertEquals("a", results.get("a").value());
      assertEquals(1, breaking.streams.get());
      await(() -> breaking.abandoned.get() == 1);
    }
  }

  @Test
  void aWatchTriesOnceWithAnotherToken() {
    Breaking refusing = new Breaking();
    try (LarderClient client =
            Access.client(LarderClient.builder().logger(null).telemetry(false), refusing);
        Watch watch = client.namespace("names", String.class).watch(false)) {
      assertThrows(UnauthenticatedException.class, watch::hasNext);
      assertEquals(2, refusing.streams.get());
    }
  }
}
