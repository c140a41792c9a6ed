import com.google.protobuf.Duration;
import io.grpc.EquivalentAddressGroup;
import io.grpc.ManagedChannel;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.StatusOr;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.io.File;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import javax.net.ssl.SSLException;
import larder.v1.CacheServiceGrpc;
import larder.v1.CacheServiceOuterClass.DeleteRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.GetRequest;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.Value;

/**
 * Calls replicas of Larder in turns until the file $LARDER_STOP exists, and prints how many calls failed. A replica may
 * stop and start again meanwhile: a client follows its GOAWAY. With $LARDER_TLS_CA the replicas have TLS, and their
 * certificates may change: each worker connects again and again.
 */
final class Load {
  private static final int WORKERS = 4;
  /** Rounds of calls per connection. */
  private static final int TLS_ROUNDS = 5;

  private static final String NAMESPACE = "load-java";
  private static final String AUTHORITY = System.getenv().getOrDefault("LARDER_TLS_CA", "");

  private final AtomicLong calls = new AtomicLong();
  private final AtomicLong failed = new AtomicLong();

  public static void main(String[] arguments) throws InterruptedException {
    NameResolverRegistry.getDefaultRegistry().register(new Replicas());
    Load load = new Load();
    List<Thread> workers = new ArrayList<>();
    for (int worker = 0; worker < WORKERS; worker++) {
      int number = worker;
      workers.add(new Thread(() -> load.work(number)));
    }
    workers.forEach(Thread::start);
    for (Thread worker : workers) {
      worker.join();
    }
    System.out.printf("calls=%d failed=%d%n", load.calls.get(), load.failed.get());
    System.exit(load.failed.get() > 0 ? 1 : 0);
  }

  private void work(int worker) {
    Path stop = Path.of(System.getenv("LARDER_STOP"));
    ManagedChannel channel = connect();
    for (int number = 0; !Files.exists(stop); number++) {
      if (!AUTHORITY.isEmpty() && number % TLS_ROUNDS == TLS_ROUNDS - 1) {
        channel.shutdown();
        channel = connect();
      }
      callAll(channel, worker + "-" + number % 50);
    }
    channel.shutdownNow();
  }

  private static ManagedChannel connect() {
    NettyChannelBuilder builder =
        NettyChannelBuilder.forTarget("replicas:///larder").defaultLoadBalancingPolicy("round_robin");
    if (AUTHORITY.isEmpty()) {
      return builder.usePlaintext().build();
    }
    try {
      return builder.sslContext(GrpcSslContexts.forClient().trustManager(new File(AUTHORITY)).build()).build();
    } catch (SSLException error) {
      throw new IllegalStateException(error);
    }
  }

  private void callAll(ManagedChannel channel, String key) {
    count(() -> larder(channel).get(GetRequest.newBuilder().setNamespace(NAMESPACE).setKey(key).build()));
    GetOrFetchRequest.Builder fetch = GetOrFetchRequest.newBuilder().setNamespace(NAMESPACE).setKey(key);
    fetch.setWait(Duration.newBuilder().setSeconds(1));
    GetOrFetchResponse answer = count(() -> larder(channel).getOrFetch(fetch.build()));
    SetRequest.Builder set = SetRequest.newBuilder().setNamespace(NAMESPACE).setKey(key);
    set.setValue(Value.newBuilder().setText(key));
    if (answer != null) {
      // Under the lease, if one was granted.
      set.setLeaseToken(answer.getLease().getToken());
    }
    count(() -> larder(channel).set(set.build()));
    count(() -> larder(channel).delete(DeleteRequest.newBuilder().setNamespace(NAMESPACE).setKey(key).build()));
  }

  private static CacheServiceGrpc.CacheServiceBlockingStub larder(ManagedChannel channel) {
    return CacheServiceGrpc.newBlockingStub(channel).withDeadlineAfter(15, TimeUnit.SECONDS);
  }

  private <T> T count(Supplier<T> call) {
    calls.incrementAndGet();
    try {
      return call.get();
    } catch (StatusRuntimeException error) {
      failed.incrementAndGet();
      System.out.println(error.getMessage());
      return null;
    }
  }

  /** The addresses in $LARDER_ADDRESSES. */
  private static final class Replicas extends NameResolverProvider {
    @Override
    protected boolean isAvailable() {
      return true;
    }

    @Override
    protected int priority() {
      return 5;
    }

    @Override
    public String getDefaultScheme() {
      return "replicas";
    }

    @Override
    public NameResolver newNameResolver(URI target, NameResolver.Args arguments) {
      return new NameResolver() {
        @Override
        public String getServiceAuthority() {
          return "larder";
        }

        @Override
        public void start(Listener2 listener) {
          List<EquivalentAddressGroup> groups = new ArrayList<>();
          for (String address : System.getenv("LARDER_ADDRESSES").split(",")) {
            URI parsed = URI.create("//" + address);
            groups.add(new EquivalentAddressGroup(new InetSocketAddress(parsed.getHost(), parsed.getPort())));
          }
          listener.onResult(ResolutionResult.newBuilder().setAddressesOrError(StatusOr.fromValue(groups)).build());
        }

        @Override
        public void shutdown() {}
      };
    }
  }
}
