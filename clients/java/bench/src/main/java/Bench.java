import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.Tier;
import dev.larder.client.internal.Rpcs;
import dev.larder.testing.LarderServer;
import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCalls;
import io.lettuce.core.RedisClient;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import larder.v1.CacheServiceOuterClass.BatchGetRequest;
import larder.v1.CacheServiceOuterClass.BatchGetResponse;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetRequest;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.Value;

/** Figures of the Java client: see run.sh. */
public final class Bench {
  private static final String VALUE = "x".repeat(1024);
  private static final int MANY = 100;
  private static final int THREADS = 8;

  private final Measure measure;

  private Bench(double seconds) {
    measure = new Measure(seconds);
  }

  public static void main(String[] arguments) throws Exception {
    Bench bench = new Bench(Double.parseDouble(arguments[0]));
    System.out.println("=== Java, beside bare stubs");
    try (LarderServer server = LarderServer.start()) {
      bench.besideStubs(server.target());
    }
    System.out.println("=== Java, beside Lettuce");
    bench.besideLettuce();
    System.exit(0);
  }

  private static LarderClient client(String target) {
    return LarderClient.builder().target(target).callTimeout(Duration.ofSeconds(20)).build();
  }

  private static Map<String, Measure.Step> ways(
      String one, Measure.Step first, String other, Measure.Step second) {
    Map<String, Measure.Step> ways = new LinkedHashMap<>();
    ways.put(one, first);
    ways.put(other, second);
    return ways;
  }

  private static void check(boolean right) {
    if (!right) {
      throw new IllegalStateException("another answer than expected");
    }
  }

  private void besideStubs(String target) throws Exception {
    ManagedChannel channel = NettyChannelBuilder.forTarget(target).usePlaintext().build();
    try (LarderClient client = client(target)) {
      Namespace<String> values = client.namespace("bench", String.class);
      List<String> keys = new ArrayList<>();
      for (int number = 0; number < MANY; number++) {
        keys.add("k" + number);
        values.set("k" + number, VALUE);
      }
      for (int threads : new int[] {1, THREADS}) {
        measure.print(
            "get 1 KiB",
            threads,
            ways(
                "stub", () -> check(stubGet(channel).length() == VALUE.length()),
                "larder", () -> check(values.get("k1").found())));
        measure.print(
            "getOrFetch, a hit of 1 KiB",
            threads,
            ways(
                "stub", () -> check(stubFetch(channel, any(keys)).length() == VALUE.length()),
                "larder", () -> check(values.getOrFetch(any(keys), load -> VALUE).found())));
        measure.print(
            "set 1 KiB",
            threads,
            ways(
                "stub", () -> stubSet(channel),
                "larder", () -> check(values.set("s", VALUE).stored())));
      }
      measure.print(
          "get 100 of 1 KiB",
          1,
          ways(
              "stub", () -> check(stubMany(channel, keys) == MANY),
              "larder", () -> check(values.getMany(keys).size() == MANY)));
      near(client);
    } finally {
      channel.shutdownNow();
    }
  }

  private void near(LarderClient client) throws Exception {
    Namespace<String> near =
        client.namespace("bench", String.class, NamespaceOptions.DEFAULTS.withNearCache());
    long deadline = System.nanoTime() + Duration.ofSeconds(20).toNanos();
    while (near.get("k1").tier().filter(Tier.CLIENT::equals).isEmpty()) {
      check(System.nanoTime() < deadline);
    }
    Key key = Key.of("k1");
    for (int threads : new int[] {1, 2}) {
      measure.print(
          "near hit of 1 KiB",
          threads,
          Map.of(
              "larder", () -> check(near.get("k1").value().length() == VALUE.length())));
    }
    check(near.get(key).tier().filter(Tier.CLIENT::equals).isPresent());
  }

  private static String stubGet(ManagedChannel channel) {
    GetRequest request = GetRequest.newBuilder().setNamespace("bench").setKey("k1").build();
    return ClientCalls.blockingUnaryCall(channel, Rpcs.GET, options(), request)
        .getValue()
        .getText();
  }

  /** With a deadline, as every call of the client has. */
  private static CallOptions options() {
    return CallOptions.DEFAULT.withDeadlineAfter(20, TimeUnit.SECONDS);
  }

  /** One of the keys: calls for one key at a time would be joined. */
  private static String any(List<String> keys) {
    return keys.get(ThreadLocalRandom.current().nextInt(keys.size()));
  }

  private static String stubFetch(ManagedChannel channel, String key) {
    GetOrFetchRequest request =
        GetOrFetchRequest.newBuilder().setNamespace("bench").setKey(key).build();
    return ClientCalls.blockingUnaryCall(channel, Rpcs.GET_OR_FETCH, options(), request)
        .getFound()
        .getValue()
        .getText();
  }

  private static void stubSet(ManagedChannel channel) {
    SetRequest request =
        SetRequest.newBuilder()
            .setNamespace("bench")
            .setKey("s")
            .setValue(Value.newBuilder().setText(VALUE))
            .build();
    ClientCalls.blockingUnaryCall(channel, Rpcs.SET, options(), request);
  }

  private static int stubMany(ManagedChannel channel, List<String> keys) {
    BatchGetRequest.Builder request = BatchGetRequest.newBuilder();
    for (String key : keys) {
      request.addKeys(KeyRef.newBuilder().setNamespace("bench").setKey(key));
    }
    Iterator<BatchGetResponse> messages =
        ClientCalls.blockingServerStreamingCall(
            channel, Rpcs.BATCH_GET, options(), request.build());
    Map<String, String> values = new LinkedHashMap<>();
    int index = 0;
    while (messages.hasNext()) {
      for (var result : messages.next().getResultsList()) {
        values.put(keys.get(index++), result.getValue().getText());
      }
    }
    return values.size();
  }

  private static void waitFor(int port) throws Exception {
    long deadline = System.nanoTime() + Duration.ofSeconds(20).toNanos();
    while (true) {
      try (Socket connected = new Socket(InetAddress.getLoopbackAddress(), port)) {
        return;
      } catch (IOException error) {
        if (System.nanoTime() > deadline) {
          throw error;
        }
        Thread.onSpinWait();
      }
    }
  }

  private void besideLettuce() throws Exception {
    Path directory = Files.createTempDirectory("larder-bench-");
    int port;
    try (ServerSocket probe = new ServerSocket(0)) {
      port = probe.getLocalPort();
    }
    Process redis =
        new ProcessBuilder(
                "redis-server", "--port", Integer.toString(port), "--save", "",
                "--appendonly", "no", "--dir", directory.toString())
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    waitFor(port);
    try (LarderServer server =
            LarderServer.builder()
                .environment("LARDER_STORE__URL", "redis://127.0.0.1:" + port)
                .start();
        LarderClient client = client(server.target())) {
      beside(client, "redis://127.0.0.1:" + port);
    } finally {
      redis.destroy();
      redis.waitFor();
      Files.delete(directory);
    }
  }

  private void beside(LarderClient client, String url) throws Exception {
    RedisClient lettuce = RedisClient.create(url);
    try (StatefulRedisConnection<String, String> connection = lettuce.connect()) {
      RedisCommands<String, String> commands = connection.sync();
      Namespace<String> values = client.namespace("bench", String.class);
      List<String> keys = new ArrayList<>();
      for (int number = 0; number < MANY; number++) {
        keys.add("k" + number);
        check(values.set("k" + number, VALUE).stored());
        commands.set("k" + number, VALUE);
      }
      String[] names = keys.toArray(String[]::new);
      for (int threads : new int[] {1, THREADS}) {
        measure.print(
            "get 1 KiB",
            threads,
            ways(
                "lettuce", () -> check(commands.get("k1") != null),
                "larder", () -> check(values.get("k1").found())));
      }
      measure.print(
          "get 100 of 1 KiB",
          1,
          ways(
              "lettuce", () -> check(commands.mget(names).size() == MANY),
              "larder", () -> check(values.getMany(keys).size() == MANY)));
    } finally {
      lettuce.shutdown();
    }
  }
}
