import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import larder.v1.CacheServiceGrpc;
import larder.v1.CacheServiceOuterClass.AbandonRequest;
import larder.v1.CacheServiceOuterClass.AbandonResponse;
import larder.v1.CacheServiceOuterClass.FetchStatus;
import larder.v1.CacheServiceOuterClass.Found;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.Lease;
import larder.v1.CacheServiceOuterClass.Outcome;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.SetResponse;
import larder.v1.CacheServiceOuterClass.Value;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The example that applications copy, beyond the happy path. */
class GetOrComputeTest {
  private static ManagedChannel channel;
  private static CacheServiceGrpc.CacheServiceBlockingStub larder;

  private final String namespace = "java-" + UUID.randomUUID().toString().substring(0, 13);

  @BeforeAll
  static void connect() {
    channel = NettyChannelBuilder.forTarget(System.getenv("LARDER_ADDRESS")).usePlaintext().build();
    larder = CacheServiceGrpc.newBlockingStub(channel);
  }

  @AfterAll
  static void disconnect() {
    channel.shutdownNow();
  }

  private String get(String key, Callable<String> compute) throws Exception {
    return new GetOrCompute(larder, 10_000).get(namespace, key, Map.of("id", "1"), compute);
  }

  private static String never() {
    throw new AssertionError("computed without need");
  }

  /** Makes calls at the same time. */
  private static List<Future<String>> together(int count, Callable<String> call) throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(count);
    try {
      List<Callable<String>> calls = new ArrayList<>();
      for (int index = 0; index < count; index++) {
        calls.add(call);
      }
      return threads.invokeAll(calls, 20, TimeUnit.SECONDS);
    } finally {
      threads.shutdownNow();
    }
  }

  @Test
  void oneOfManyComputes() throws Exception {
    AtomicInteger computed = new AtomicInteger();
    Callable<String> compute =
        () -> {
          computed.incrementAndGet();
          Thread.sleep(200);
          return "{\"name\":\"Ada\"}";
        };
    for (Future<String> value : together(5, () -> get("k", compute))) {
      assertEquals("{\"name\":\"Ada\"}", value.get());
    }
    assertEquals(1, computed.get());
  }

  @Test
  void nothingIsCachedToo() throws Exception {
    assertNull(get("k", () -> null));
    assertNull(get("k", GetOrComputeTest::never));
  }

  @Test
  void failureReachesTheOthersAtOnce() throws Exception {
    Callable<String> compute =
        () -> {
          Thread.sleep(300);
          throw new IllegalStateException("secret");
        };
    long began = System.nanoTime();
    int answered = 0;
    for (Future<String> value : together(4, () -> get("k", compute))) {
      Throwable cause = assertThrows(ExecutionException.class, value::get).getCause();
      if (cause instanceof GetOrCompute.ComputeFailedException) {
        assertEquals("IllegalStateException", cause.getMessage());
        answered++;
      }
    }
    assertEquals(3, answered);
    assertTrue(System.nanoTime() - began < TimeUnit.SECONDS.toNanos(3));
  }

  @Test
  void cancelledCallerPassesTheLeaseOn() throws Exception {
    Context.CancellableContext context = Context.current().withCancellation();
    assertThrows(
        CancellationException.class,
        () ->
            context.call(
                () ->
                    get(
                        "k",
                        () -> {
                          context.cancel(null);
                          throw new CancellationException();
                        })));
    GetOrFetchRequest request =
        GetOrFetchRequest.newBuilder().setNamespace(namespace).setKey("k").putParams("id", "1").build();
    GetOrFetchResponse answer = larder.withDeadlineAfter(10, TimeUnit.SECONDS).getOrFetch(request);
    assertTrue(answer.hasLease());
  }

  @Test
  void anotherCallerTakesTooLong() throws Exception {
    GetOrFetchRequest lease =
        GetOrFetchRequest.newBuilder().setNamespace(namespace).setKey("held").build();
    assertTrue(larder.withDeadlineAfter(10, TimeUnit.SECONDS).getOrFetch(lease).hasLease());
    GetOrCompute impatient = new GetOrCompute(larder, 500);
    assertThrows(
        TimeoutException.class,
        () -> impatient.get(namespace, "held", Map.of(), GetOrComputeTest::never));
  }

  @Test
  void mistakesAreThrown() {
    StatusRuntimeException error =
        assertThrows(StatusRuntimeException.class, () -> get("", GetOrComputeTest::never));
    assertEquals(Status.Code.INVALID_ARGUMENT, error.getStatus().getCode());
  }

  @Test
  void larderIsDown() throws Exception {
    ManagedChannel down = NettyChannelBuilder.forTarget("127.0.0.1:1").usePlaintext().build();
    try {
      GetOrCompute compute = new GetOrCompute(CacheServiceGrpc.newBlockingStub(down), 10_000);
      assertEquals("7", compute.get("ns", "k", Map.of(), () -> "7"));
    } finally {
      down.shutdownNow();
    }
  }

  @Test
  void aValueThatCannotBeStoredGivesTheLeaseBack() throws Exception {
    assertEquals("not JSON", get("bad", () -> "not JSON"));
    GetOrFetchRequest next =
        GetOrFetchRequest.newBuilder()
            .setNamespace(namespace)
            .setKey("bad")
            .putParams("id", "1")
            .build();
    GetOrFetchResponse answer = larder.withDeadlineAfter(3, TimeUnit.SECONDS).getOrFetch(next);
    assertEquals(FetchStatus.FETCH_STATUS_FAILED, answer.getFetchStatus());
  }

  /** The result of the example for an answer, and the calls that follow it. */
  private static String scripted(GetOrFetchResponse answer, Callable<String> compute)
      throws Exception {
    List<String> calls = Collections.synchronizedList(new ArrayList<>());
    CacheServiceGrpc.CacheServiceImplBase service =
        new CacheServiceGrpc.CacheServiceImplBase() {
          @Override
          public void getOrFetch(
              GetOrFetchRequest request, StreamObserver<GetOrFetchResponse> observer) {
            observer.onNext(answer);
            observer.onCompleted();
          }

          @Override
          public void set(SetRequest request, StreamObserver<SetResponse> observer) {
            calls.add("set");
            observer.onNext(SetResponse.getDefaultInstance());
            observer.onCompleted();
          }

          @Override
          public void abandon(AbandonRequest request, StreamObserver<AbandonResponse> observer) {
            calls.add("abandon");
            observer.onNext(AbandonResponse.getDefaultInstance());
            observer.onCompleted();
          }
        };
    Server server = NettyServerBuilder.forPort(0).addService(service).build().start();
    ManagedChannel own =
        NettyChannelBuilder.forAddress("127.0.0.1", server.getPort()).usePlaintext().build();
    try {
      GetOrCompute example = new GetOrCompute(CacheServiceGrpc.newBlockingStub(own), 10_000);
      String value;
      try {
        value = example.get("ns", "k", Map.of(), compute);
      } catch (java.io.IOException error) {
        value = "IOException";
      }
      return value + " " + calls;
    } finally {
      own.shutdownNow();
      server.shutdownNow();
    }
  }

  @Test
  void degradedAnswersLeasesWithStaleValuesAndNegativeEntries() throws Exception {
    Callable<String> failing =
        () -> {
          throw new java.io.IOException("down");
        };
    Lease lease = Lease.newBuilder().setToken(ByteString.copyFrom(new byte[16])).build();
    GetOrFetchResponse degraded =
        GetOrFetchResponse.newBuilder().setLease(lease).setDegraded(true).build();
    assertEquals("7 []", scripted(degraded, () -> "7"));
    assertEquals("IOException []", scripted(degraded, failing));
    Found stale =
        Found.newBuilder()
            .setOutcome(Outcome.OUTCOME_STALE)
            .setValue(Value.newBuilder().setJson("1"))
            .build();
    GetOrFetchResponse withStale =
        GetOrFetchResponse.newBuilder().setLease(lease.toBuilder().setStale(stale)).build();
    assertEquals("7 [set]", scripted(withStale, () -> "7"));
    assertEquals("1 [abandon]", scripted(withStale, failing));
    Found negative = Found.newBuilder().setOutcome(Outcome.OUTCOME_NEGATIVE).build();
    GetOrFetchResponse found = GetOrFetchResponse.newBuilder().setFound(negative).build();
    assertEquals("null []", scripted(found, GetOrComputeTest::never));
  }
}
