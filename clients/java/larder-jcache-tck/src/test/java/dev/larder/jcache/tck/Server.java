package dev.larder.jcache.tck;

import dev.larder.client.LarderClient;
import dev.larder.testing.LarderServer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.runner.Description;
import org.junit.runner.Result;
import org.junit.runner.notification.RunListener;

/**
 * Runs the server of the suite, with the embedded store, or on Redis if {@code LARDER_SUITE_STORE}
 * is {@code redis}.
 */
public final class Server extends RunListener {
  private static final Duration PATIENCE = Duration.ofMinutes(1);
  private static final long LOOK_MS = 20;

  private LarderServer server;
  private Process redis;
  private Path directory;

  @Override
  public void testRunStarted(Description description) throws IOException, InterruptedException {
    if (server != null) {
      return;
    }
    LarderServer.Builder builder = LarderServer.builder();
    if ("redis".equals(System.getenv("LARDER_SUITE_STORE"))) {
      builder.environment("LARDER_STORE", "unix://" + startRedis());
    }
    server = builder.start();
    System.setProperty("larder.target", server.target());
    warmUp();
  }

  /** The first connection of a program loads classes, which takes seconds on a busy machine. */
  private void warmUp() throws IOException {
    try (LarderClient client =
        LarderClient.builder()
            .target(server.target())
            .callTimeout(PATIENCE)
            .connectTimeout(PATIENCE)
            .build()) {
      if (!client.namespace("warm", String.class).set("k", "v").stored()) {
        throw new IOException("the server stores nothing:\n" + String.join("\n", server.log()));
      }
    }
  }

  private Path startRedis() throws IOException, InterruptedException {
    directory = Files.createTempDirectory("larder-tck-");
    Path socket = directory.resolve("redis.sock");
    redis =
        new ProcessBuilder(
                "redis-server", "--port", "0", "--unixsocket", socket.toString(),
                "--save", "", "--appendonly", "no", "--dir", directory.toString())
            .redirectErrorStream(true)
            .redirectOutput(directory.resolve("redis.log").toFile())
            .start();
    Runtime.getRuntime().addShutdownHook(new Thread(redis::destroyForcibly));
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (!Files.exists(socket)) {
      if (!redis.isAlive() || System.nanoTime() > end) {
        throw new IOException(Files.readString(directory.resolve("redis.log")));
      }
      Thread.sleep(LOOK_MS);
    }
    return socket;
  }

  @Override
  public void testRunFinished(Result result) throws IOException, InterruptedException {
    if (server != null) {
      server.close();
      server = null;
    }
    if (redis != null) {
      redis.destroy();
      redis.waitFor();
      redis = null;
      for (String name : new String[] {"redis.log", "redis.sock"}) {
        Files.deleteIfExists(directory.resolve(name));
      }
      Files.delete(directory);
    }
  }
}
