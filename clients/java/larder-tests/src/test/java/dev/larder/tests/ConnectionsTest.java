package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.CancelledException;
import dev.larder.client.FetchOptions;
import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.Namespace;
import dev.larder.client.PermissionDeniedException;
import dev.larder.client.Preset;
import dev.larder.client.Token;
import dev.larder.client.UnauthenticatedException;
import dev.larder.client.Watch;
import dev.larder.client.grpc.LarderChannels;
import dev.larder.client.internal.Rpcs;
import dev.larder.testing.LarderServer;
import io.grpc.CallOptions;
import io.grpc.stub.ClientCalls;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import larder.v1.CacheServiceOuterClass.GetRequest;
import larder.v1.CacheServiceOuterClass.GetResponse;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Targets, credentials and the end of a client. */
class ConnectionsTest {
  private static LarderServer server;

  @TempDir Path directory;

  @BeforeAll
  static void start() throws IOException {
    server = LarderServer.start();
  }

  @AfterAll
  static void stop() {
    server.close();
  }

  private static LarderClient.Builder to(LarderServer target) {
    return LarderClient.builder().target(target.target()).preset(Preset.LOCAL).logger(null);
  }

  private static final Duration PATIENCE = Duration.ofSeconds(20);

  private static void await(BooleanSupplier condition) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() < deadline, "it does not come");
      Thread.sleep(20);
    }
  }

  private static void run(String... command) throws IOException, InterruptedException {
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    assertEquals(0, process.waitFor());
  }

  private void useCertificate(String name) throws IOException {
    for (String kind : new String[] {"crt", "key"}) {
      Files.copy(
          directory.resolve("client-" + name + "." + kind),
          directory.resolve("client." + kind),
          StandardCopyOption.REPLACE_EXISTING);
    }
  }

  @Test
  void certificatesAreReadAgainWhenTheyChange() throws Exception {
    run(
        System.getenv("LARDER_BIN"),
        "certs", "--out", directory.toString(), "--force", "--client", "one", "--client", "two");
    String config =
        """
        [tls]
        cert = "%1$s/server.crt"
        key = "%1$s/server.key"
        client_ca = "%1$s/ca.crt"
        client_cert = "required"
        """
            .formatted(directory);
    useCertificate("one");
    Path authority = directory.resolve("ca.crt");
    try (LarderServer secure = LarderServer.builder().config(config).start();
        LarderClient without = to(secure).caFile(authority).build();
        LarderClient client =
            to(secure)
                .caFile(authority)
                .certificate(directory.resolve("client.crt"), directory.resolve("client.key"))
                .token("secret")
                .build()) {
      client.connect();
      Namespace<Integer> numbers = client.namespace("n", Integer.class);
      assertTrue(numbers.set("k", 1).stored());
      assertTrue(without.namespace("n", Integer.class).get("k").degraded());
      Object before = LarderChannels.of(client);
      useCertificate("two");
      // Files are looked at every 10 s.
      await(() -> LarderChannels.of(client) != before);
      assertEquals(1, numbers.get("k").value());
    }
    assertThrows(
        IllegalArgumentException.class,
        () -> to(server).certificate(directory.resolve("client.crt"), null).build());
  }

  @Test
  void aTokenIsNotSentOverPlainTextToAnotherMachine() {
    LarderClient.Builder other = LarderClient.builder().target("10.0.0.1:50051").token("secret");
    assertThrows(IllegalArgumentException.class, other::build);
    other.allowPlaintextToken(true).build().close();
    other.allowPlaintextToken(false).tls(true).build().close();
    assertThrows(
        IllegalArgumentException.class, () -> to(server).token("line\nbreak").build());
  }

  @Test
  void aTokenThatIsRefusedIsAskedForAgain() throws Exception {
    String right = "a-token-of-the-app-with-32-characters";
    String config =
        """
        [auth]
        mode = "enforce"
        [auth.principals.app]
        tokens = ["${env:APP_TOKEN}"]
        roles = ["reader"]
        [auth.roles.reader]
        allow = [{ verbs = ["read"], namespaces = ["*"] }]
        """;
    AtomicInteger asked = new AtomicInteger();
    try (LarderServer guarded =
            LarderServer.builder().config(config).environment("APP_TOKEN", right).start();
        LarderClient nobody = to(guarded).build();
        LarderClient client =
            to(guarded)
                .callTimeout(PATIENCE)
                .tokenProvider(
                    () -> {
                      boolean first = asked.incrementAndGet() == 1;
                      return new Token(first ? "wrong" : right, Duration.ofMinutes(5));
                    })
                .build()) {
      Namespace<String> names = client.namespace("n", String.class);
      assertFalse(names.get("k").found());
      assertFalse(names.get("k").degraded());
      assertEquals(2, asked.get());
      assertThrows(PermissionDeniedException.class, () -> names.set("k", "v"));
      Namespace<String> anonymous = nobody.namespace("n", String.class);
      assertThrows(UnauthenticatedException.class, () -> anonymous.get("k"));
    }
  }

  @Test
  void aProviderThatFailsIsAnOutage() {
    try (LarderClient client =
        to(server)
            .tokenProvider(
                () -> {
                  throw new IOException("no token service");
                })
            .build()) {
      var result = client.namespace("n", String.class).get("k");
      assertTrue(result.degraded());
      LarderException error =
          assertInstanceOf(LarderException.class, result.error().orElseThrow());
      assertEquals("NO_TOKEN", error.reason());
    }
  }

  @Test
  void aProviderThatDoesNotAnswerIsAnOutage() throws Exception {
    CountDownLatch never = new CountDownLatch(1);
    try (LarderClient client =
        to(server)
            .callTimeout(Duration.ofMillis(300))
            .tokenProvider(
                () -> {
                  never.await();
                  return Token.of("late");
                })
            .build()) {
      Namespace<String> names = client.namespace("n", String.class);
      var result = assertTimeoutPreemptively(PATIENCE, () -> names.get("k"));
      LarderException error =
          assertInstanceOf(LarderException.class, result.error().orElseThrow());
      assertEquals("NO_TOKEN", error.reason());
      // A call that is cancelled does not wait for it either.
      var cancelled = names.async().getOrFetch("k", load -> CompletableFuture.completedFuture("v"));
      assertTrue(cancelled.cancel(true));
      Watch watch = names.watch(false);
      watch.close();
      assertFalse(assertTimeoutPreemptively(PATIENCE, watch::hasNext));
    } finally {
      never.countDown();
    }
  }

  @Test
  void certificatesThatCannotBeReadAreAnOutage() throws Exception {
    Path file = directory.resolve("not-yet.crt");
    for (String content : new String[] {null, "no certificate"}) {
      if (content != null) {
        Files.writeString(file, content);
      }
      try (LarderClient client = to(server).caFile(file).build()) {
        var result = client.namespace("n", String.class).get("k");
        LarderException error =
            assertInstanceOf(LarderException.class, result.error().orElseThrow());
        assertEquals("CERTIFICATES", error.reason());
        assertEquals(
            "v", client.namespace("n", String.class).getOrFetch("k", load -> "v").value());
      }
    }
  }

  @Test
  void severalAddressesShareTheCalls() throws Exception {
    LarderServer other = LarderServer.start();
    try (LarderClient one = to(server).build();
        LarderClient two = to(other).build();
        LarderClient both =
            LarderClient.builder()
                .target(server.target() + ",localhost:" + other.target().split(":")[1])
                .preset(Preset.LOCAL)
                .logger(null)
                .build()) {
      Namespace<String> names = both.namespace("several", String.class);
      await(
          () -> {
            for (int call = 0; call < 10; call++) {
              names.get("k");
            }
            return one.namespace("several", String.class).stats().isPresent()
                && two.namespace("several", String.class).stats().isPresent();
          });
      other.close();
      await(() -> !names.get("k").degraded() && !names.get("k").degraded());
    }
  }

  @Test
  void anIpv6AddressIsATarget() throws Exception {
    try (LarderServer six =
        LarderServer.builder().environment("LARDER_LISTEN", "[::1]:0").start()) {
      String address = six.target();
      assertTrue(address.startsWith("[::1]:"), address);
      for (String target :
          new String[] {address, "dns:///" + address, address + "," + address}) {
        try (LarderClient client =
            LarderClient.builder().target(target).preset(Preset.LOCAL).logger(null).build()) {
          assertTrue(client.namespace("six", String.class).set("k", "v").stored(), target);
        }
      }
    }
  }

  @Test
  void theChannelIsReachable() {
    try (LarderClient client = to(server).build()) {
      client.namespace("raw", String.class).set("k", "v");
      GetRequest request = GetRequest.newBuilder().setNamespace("raw").setKey("k").build();
      GetResponse answer =
          ClientCalls.blockingUnaryCall(
              LarderChannels.of(client), Rpcs.GET, CallOptions.DEFAULT, request);
      assertEquals("v", answer.getValue().getText());
    }
  }

  @Test
  void closeEndsComputationsAndGivesLeasesUp() throws Exception {
    LarderClient client = to(server).build();
    Namespace<String> names = client.namespace("closing", String.class);
    CountDownLatch loading = new CountDownLatch(1);
    CompletableFuture<?> call =
        names
            .async()
            .getOrFetch(
                "k",
                context -> {
                  loading.countDown();
                  return new CompletableFuture<>();
                });
    assertTrue(loading.await(10, TimeUnit.SECONDS));
    client.close();
    client.close();
    ExecutionException ended =
        assertThrows(ExecutionException.class, () -> call.get(10, TimeUnit.SECONDS));
    assertInstanceOf(CancelledException.class, ended.getCause());
    LarderException closed = assertThrows(LarderException.class, () -> names.get("k"));
    assertEquals("CLIENT_CLOSED", closed.reason());
    try (LarderClient next = to(server).build()) {
      var result =
          next.namespace("closing", String.class)
              .getOrFetch(
                  "k", context -> "mine", FetchOptions.DEFAULTS.timeout(Duration.ZERO));
      assertTrue(result.stored().orElseThrow().stored());
    }
  }

  @Test
  void manyClientsLeaveNoThreads() throws Exception {
    try (LarderClient first = to(server).build()) {
      first.connect();
    }
    long before = threads();
    for (int count = 0; count < 50; count++) {
      try (LarderClient client = to(server).build()) {
        client.namespace("n", String.class).get("k");
      }
    }
    await(() -> threads() <= before + 5);
  }

  private static long threads() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().startsWith("larder-"))
        .count();
  }
}
