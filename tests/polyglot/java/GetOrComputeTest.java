import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.util.ArrayList;
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
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
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
    int told = 0;
    for (Future<String> value : together(4, () -> get("k", compute))) {
      Throwable cause = assertThrows(ExecutionException.class, value::get).getCause();
      if (cause instanceof GetOrCompute.ComputeFailedException) {
        assertEquals("IllegalStateException", cause.getMessage());
        told++;
      }
    }
    assertEquals(3, told);
    assertTrue(System.nanoTime() - began < TimeUnit.SECONDS.toNanos(3));
  }

  @Test
  void cancelledCallerGivesTheLeaseBack() throws Exception {
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
    assertEquals("CancellationException", answer.getCause());
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
}
