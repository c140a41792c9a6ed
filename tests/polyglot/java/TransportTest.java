import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.common.util.concurrent.ListenableFuture;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.rpc.BadRequest;
import io.grpc.Channel;
import io.grpc.ClientInterceptor;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntPredicate;
import larder.v1.CacheServiceGrpc;
import larder.v1.CacheServiceOuterClass.BatchGetRequest;
import larder.v1.CacheServiceOuterClass.BatchGetResponse;
import larder.v1.CacheServiceOuterClass.BatchGetResult;
import larder.v1.CacheServiceOuterClass.FetchStreamFill;
import larder.v1.CacheServiceOuterClass.FetchStreamRequest;
import larder.v1.CacheServiceOuterClass.FetchStreamResponse;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.GetRequest;
import larder.v1.CacheServiceOuterClass.GetResponse;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.SetResponse;
import larder.v1.CacheServiceOuterClass.SetResult;
import larder.v1.CacheServiceOuterClass.Value;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Transport: trailers, cancelled and timed out calls, flow control, concurrency, broken streams.
 */
class TransportTest {
  private static final int LONGEST = 900 * 1024;
  private static final int BATCH_VALUES = 200;
  private static final int BATCH_VALUE = 64 * 1024;
  /** How often the slow reader requests each value: more data than any library buffers. */
  private static final int REPEATED = 3;

  private static final Metadata.Key<String> X_CACHE = Metadata.Key.of("x-cache", Metadata.ASCII_STRING_MARSHALLER);
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private static ManagedChannel channel;

  /** A unique namespace, which isolates a check from other checks and earlier runs. */
  private final String namespace = "java-" + UUID.randomUUID().toString().substring(0, 13);

  @BeforeAll
  static void connect() {
    channel = newChannel();
  }

  @AfterAll
  static void disconnect() {
    channel.shutdownNow();
  }

  private static ManagedChannel newChannel() {
    return NettyChannelBuilder.forTarget(System.getenv("LARDER_ADDRESS")).usePlaintext().build();
  }

  // Every call has a deadline: a hanging call fails its check instead of the run.

  private static CacheServiceGrpc.CacheServiceBlockingStub larder() {
    return CacheServiceGrpc.newBlockingStub(channel).withDeadlineAfter(15, TimeUnit.SECONDS);
  }

  private static CacheServiceGrpc.CacheServiceFutureStub later(long milliseconds) {
    return CacheServiceGrpc.newFutureStub(channel).withDeadlineAfter(milliseconds, TimeUnit.MILLISECONDS);
  }

  // === Requests ===

  private GetRequest get(String key) {
    return GetRequest.newBuilder().setNamespace(namespace).setKey(key).build();
  }

  private SetRequest.Builder set(String key, Value value) {
    return SetRequest.newBuilder().setNamespace(namespace).setKey(key).setValue(value);
  }

  private GetOrFetchRequest fetch(int waitSeconds) {
    return GetOrFetchRequest.newBuilder()
        .setNamespace(namespace)
        .setKey("k")
        .setWait(Duration.newBuilder().setSeconds(waitSeconds))
        .build();
  }

  private static Value text(String text) {
    return Value.newBuilder().setText(text).build();
  }

  private static Value data(byte[] data) {
    return Value.newBuilder().setData(ByteString.copyFrom(data)).build();
  }

  /** Bytes that depend on the seed and on the position. */
  private static byte[] distinct(int seed, int size) {
    byte[] bytes = new byte[size];
    new Random(seed).nextBytes(bytes);
    return bytes;
  }

  // === Observations ===

  /** Number of calls that wait in the server, from its metrics. */
  private static int allWaiting() throws Exception {
    URI metrics = URI.create("http://" + System.getenv("LARDER_ADMIN_ADDRESS") + "/metrics");
    HttpRequest request = HttpRequest.newBuilder(metrics).timeout(java.time.Duration.ofSeconds(5)).build();
    String body = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
    String line = body.lines().filter(each -> each.startsWith("larder_waiting ")).findFirst().orElseThrow();
    return Integer.parseInt(line.substring(line.indexOf(' ') + 1));
  }

  private static void awaitWaiting(IntPredicate expected, int seconds) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    for (int calls = allWaiting(); !expected.test(calls); calls = allWaiting()) {
      assertTrue(System.nanoTime() < deadline, "still " + calls + " calls wait after " + seconds + " s");
      Thread.sleep(20);
    }
  }

  private static long millisecondsSince(long began) {
    return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began);
  }

  private static Status.Code codeOf(ExecutionException failed) {
    return Status.fromThrowable(failed.getCause()).getCode();
  }

  private void fillSucceeds(ByteString token) {
    SetResponse filled = larder().set(set("k", text("x")).setLeaseToken(token).build());
    assertEquals(SetResult.SET_RESULT_STORED, filled.getResult());
  }

  private ByteString lease() {
    GetOrFetchResponse answer = larder().getOrFetch(fetch(0));
    assertTrue(answer.hasLease(), answer::toString);
    return answer.getLease().getToken();
  }

  /** Stores the values of the large batch, and returns a request for each value `times` times. */
  private BatchGetRequest storeBatch(int times) throws Exception {
    List<ListenableFuture<SetResponse>> stored = new ArrayList<>();
    for (int number = 0; number < BATCH_VALUES; number++) {
      stored.add(later(15_000).set(set("k" + number, data(distinct(number, BATCH_VALUE))).build()));
    }
    for (ListenableFuture<SetResponse> each : stored) {
      assertEquals(SetResult.SET_RESULT_STORED, each.get().getResult());
    }
    BatchGetRequest.Builder request = BatchGetRequest.newBuilder();
    for (int number = 0; number < BATCH_VALUES * times; number++) {
      request.addKeys(KeyRef.newBuilder().setNamespace(namespace).setKey("k" + number % BATCH_VALUES));
    }
    return request.build();
  }

  private static void checkBatch(List<BatchGetResponse> chunks, int times) {
    assertTrue(chunks.size() >= 10 * times, "the answer has " + chunks.size() + " messages");
    int number = 0;
    for (BatchGetResponse chunk : chunks) {
      for (BatchGetResult result : chunk.getResultsList()) {
        byte[] expected = distinct(number % BATCH_VALUES, BATCH_VALUE);
        assertArrayEquals(expected, result.getValue().getData().toByteArray(), "value " + number);
        number++;
      }
    }
    assertEquals(BATCH_VALUES * times, number);
  }

  // === Checks ===

  @Test
  void trailers() throws Exception {
    SetRequest invalid = set("", text("x")).build();
    StatusRuntimeException refused = assertThrows(StatusRuntimeException.class, () -> larder().set(invalid));
    assertEquals(Status.Code.INVALID_ARGUMENT, refused.getStatus().getCode());
    assertTrue(refused.getStatus().getDescription().contains("key"), refused::toString);
    com.google.rpc.Status details = com.google.rpc.Status.parseFrom(refused.getTrailers().get(DETAILS));
    assertEquals(StatusProto.fromThrowable(refused), details);
    assertEquals(Status.Code.INVALID_ARGUMENT.value(), details.getCode());
    List<String> fields = new ArrayList<>();
    for (com.google.protobuf.Any detail : details.getDetailsList()) {
      if (detail.is(BadRequest.class)) {
        detail.unpack(BadRequest.class).getFieldViolationsList().forEach(violation -> fields.add(violation.getField()));
      }
    }
    assertEquals(List.of("key"), fields);

    for (String expected : List.of("MISS", "HIT")) {
      AtomicReference<Metadata> headers = new AtomicReference<>();
      ClientInterceptor capture = MetadataUtils.newCaptureMetadataInterceptor(headers, new AtomicReference<>());
      larder().withInterceptors(capture).get(get("k"));
      assertEquals(expected, headers.get().get(X_CACHE));
      larder().set(set("k", text("x")).build());
    }
  }

  @Test
  void cancelledWaits() throws Exception {
    ByteString token = lease();
    List<ListenableFuture<GetOrFetchResponse>> calls = new ArrayList<>();
    for (int number = 0; number < 20; number++) {
      calls.add(later(15_000).getOrFetch(fetch(10)));
    }
    awaitWaiting(waiting -> waiting >= calls.size(), 10);
    for (ListenableFuture<GetOrFetchResponse> call : calls) {
      assertTrue(call.cancel(true));
      assertThrows(CancellationException.class, call::get);
    }
    awaitWaiting(waiting -> waiting == 0, 3);
    fillSucceeds(token);
    assertEquals("x", larder().get(get("k")).getValue().getText(), "the connection still works");
  }

  @Test
  void shortDeadlines() throws Exception {
    ByteString token = lease();
    long began = System.nanoTime();
    List<ListenableFuture<GetOrFetchResponse>> calls = new ArrayList<>();
    for (int number = 0; number < 20; number++) {
      calls.add(later(100).getOrFetch(fetch(5)));
    }
    for (ListenableFuture<GetOrFetchResponse> call : calls) {
      try {
        GetOrFetchResponse answer = call.get();
        assertTrue(answer.hasContended(), answer::toString);
      } catch (ExecutionException failed) {
        assertEquals(Status.Code.DEADLINE_EXCEEDED, codeOf(failed));
      }
    }
    long took = millisecondsSince(began);
    assertTrue(took < 2000, "calls with a deadline of 100 ms took " + took + " ms");
    fillSucceeds(token);
  }

  @Test
  void largeValues() throws Exception {
    byte[] value = distinct(7, LONGEST);
    assertEquals(SetResult.SET_RESULT_STORED, larder().set(set("k", data(value)).build()).getResult());
    List<ListenableFuture<GetResponse>> calls = new ArrayList<>();
    for (int number = 0; number < 50; number++) {
      calls.add(later(15_000).get(get("k")));
    }
    for (ListenableFuture<GetResponse> call : calls) {
      assertArrayEquals(value, call.get().getValue().getData().toByteArray());
    }
  }

  @Test
  void compressedMessages() {
    for (String value : List.of("short", "a compressible value, ".repeat(10_000))) {
      CacheServiceGrpc.CacheServiceBlockingStub compressing = larder().withCompression("gzip");
      assertEquals(SetResult.SET_RESULT_STORED, compressing.set(set("k", text(value)).build()).getResult());
      assertEquals(value, compressing.get(get("k")).getValue().getText());
      assertEquals(value, larder().get(get("k")).getValue().getText());
    }
  }

  @Test
  void largeBatch() throws Exception {
    List<BatchGetResponse> chunks = new ArrayList<>();
    larder().batchGet(storeBatch(1)).forEachRemaining(chunks::add);
    checkBatch(chunks, 1);
  }

  @Test
  void slowReader() throws Exception {
    BatchGetRequest request = storeBatch(REPEATED);
    larder().set(set("small", text("small")).build());
    Iterator<BatchGetResponse> stream = larder().batchGet(request);
    List<BatchGetResponse> chunks = new ArrayList<>(List.of(stream.next()));
    long paused = System.nanoTime();
    List<ListenableFuture<GetResponse>> calls = new ArrayList<>();
    for (int number = 0; number < 200; number++) {
      calls.add(later(5_000).get(get("small")));
    }
    for (ListenableFuture<GetResponse> call : calls) {
      assertEquals("small", call.get().getValue().getText());
    }
    Thread.sleep(Math.max(0, 1000 - millisecondsSince(paused)));
    stream.forEachRemaining(chunks::add);
    checkBatch(chunks, REPEATED);
  }

  @Test
  void manyAtOnce() throws Exception {
    // Far above the server's limit of concurrent streams per connection.
    int number = 2000;
    List<ListenableFuture<SetResponse>> stored = new ArrayList<>();
    for (int key = 0; key < number; key++) {
      stored.add(later(15_000).set(set("k" + key, text("value " + key)).build()));
    }
    for (ListenableFuture<SetResponse> each : stored) {
      assertEquals(SetResult.SET_RESULT_STORED, each.get().getResult());
    }
    List<ListenableFuture<GetResponse>> calls = new ArrayList<>();
    for (int key = 0; key < number; key++) {
      calls.add(later(15_000).get(get("k" + key)));
    }
    for (int key = 0; key < number; key++) {
      assertEquals("value " + key, calls.get(key).get().getValue().getText());
    }
  }

  /** A FetchStream. Received messages are queued. */
  private static final class Stream implements StreamObserver<FetchStreamResponse> {
    private static final Object END = "the end of the stream";
    private final BlockingQueue<Object> responses = new ArrayBlockingQueue<>(16);
    private final StreamObserver<FetchStreamRequest> requests;

    Stream(Channel channel, GetOrFetchRequest open) {
      requests = CacheServiceGrpc.newStub(channel).withDeadlineAfter(15, TimeUnit.SECONDS).fetchStream(this);
      requests.onNext(FetchStreamRequest.newBuilder().setOpen(open).build());
    }

    FetchStreamResponse receive() throws Exception {
      Object received = responses.poll(15, TimeUnit.SECONDS);
      assertTrue(received instanceof FetchStreamResponse, () -> "received " + received);
      return (FetchStreamResponse) received;
    }

    @Override
    public void onNext(FetchStreamResponse response) {
      responses.add(response);
    }

    @Override
    public void onError(Throwable error) {
      responses.add(error);
    }

    @Override
    public void onCompleted() {
      responses.add(END);
    }
  }

  @Test
  void streamThatFills() throws Exception {
    byte[] value = distinct(3, LONGEST);
    Stream stream = new Stream(channel, fetch(0));
    assertEquals(16, stream.receive().getAnswer().getLease().getToken().size());
    FetchStreamFill fill = FetchStreamFill.newBuilder().setValue(data(value)).build();
    stream.requests.onNext(FetchStreamRequest.newBuilder().setFill(fill).build());
    assertEquals(SetResult.SET_RESULT_STORED, stream.receive().getFilled().getResult());
    assertEquals(Stream.END, stream.responses.poll(15, TimeUnit.SECONDS));
    assertArrayEquals(value, larder().get(get("k")).getValue().getData().toByteArray());
  }

  @Test
  void brokenConnection() throws Exception {
    ManagedChannel other = newChannel();
    try {
      ByteString first = new Stream(other, fetch(0)).receive().getAnswer().getLease().getToken();
      assertEquals(16, first.size());
      ListenableFuture<GetOrFetchResponse> follower = later(15_000).getOrFetch(fetch(12));
      // An answered call proves that the server has received the call before it.
      larder().get(get("k"));
      assertFalse(follower.isDone(), "the second caller did not wait");
      long broken = System.nanoTime();
      other.shutdownNow();
      ByteString second = follower.get().getLease().getToken();
      long took = millisecondsSince(broken);
      assertEquals(16, second.size());
      assertNotEquals(first, second);
      assertTrue(took < 2000, "the lease was granted to the next caller after " + took + " ms");
    } finally {
      other.shutdownNow();
    }
  }
}
