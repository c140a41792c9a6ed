package dev.larder.spring.tests;

import dev.larder.client.LarderClient;
import dev.larder.client.Preset;
import dev.larder.testing.LarderServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** The server of all tests, on the store that {@code LARDER_TEST_STORE} names. */
final class TestServer {
  private static final String CONFIG = "[defaults]\nttl_jitter = 0.0\n";
  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final LarderServer SERVER = start();

  private TestServer() {}

  static String target() {
    return SERVER.target();
  }

  /** Options of a client that waits for long: an outage of a busy machine is not one to test. */
  static LarderClient.Builder client(String target) {
    return LarderClient.builder()
        .target(target)
        .preset(Preset.LOCAL)
        .callTimeout(LIMIT)
        .connectTimeout(LIMIT);
  }

  /** The same as properties of Spring Boot. */
  static Map<String, Object> properties(String target) {
    return Map.of(
        "larder.target", target,
        "larder.preset", "local",
        "larder.timeout.call", LIMIT.toString(),
        "larder.timeout.connect", LIMIT.toString());
  }

  /** A name that no other test has. */
  static String fresh(String name) {
    return name + Long.toString(System.nanoTime(), 36);
  }

  /** A server that a test may stop. */
  static LarderServer another() {
    try {
      return LarderServer.builder().config(CONFIG).start();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static LarderServer start() {
    try {
      LarderServer.Builder builder = LarderServer.builder().config(CONFIG);
      if ("redis".equals(System.getenv("LARDER_TEST_STORE"))) {
        builder.environment("LARDER_STORE__URL", "unix://" + redis());
      }
      return builder.start();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** The socket of a Redis that ends with the tests. */
  private static Path redis() throws IOException {
    Path directory = Files.createTempDirectory("larder-redis-");
    Path socket = directory.resolve("redis.sock");
    ProcessBuilder command =
        new ProcessBuilder(
            "redis-server", "--port", "0", "--save", "", "--unixsocket", socket.toString(),
            "--dir", directory.toString());
    command.redirectErrorStream(true).redirectOutput(directory.resolve("redis.log").toFile());
    Process process = command.start();
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  process.destroyForcibly();
                  directory.resolve("redis.log").toFile().delete();
                  socket.toFile().delete();
                  directory.toFile().delete();
                }));
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (!Files.exists(socket)) {
      if (System.nanoTime() > deadline || !process.isAlive()) {
        throw new IOException("redis-server does not start: see " + directory);
      }
      Thread.onSpinWait();
    }
    return socket;
  }
}
