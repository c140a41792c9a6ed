package dev.larder.testing;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import dev.larder.client.internal.JsonText;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;

/** The real server on a free port, with the embedded store. For tests. */
public final class LarderServer implements AutoCloseable {
  /** Configuration that makes tests repeatable: TTLs are as they were given. */
  private static final String DEFAULT_CONFIG = "[defaults]\nttl_jitter = 0.0\n";

  private static final int KEPT_LINES = 100;
  private static final long STOP_SECONDS = 10;

  private final ReentrantLock lock = new ReentrantLock();
  private final Deque<String> lines = new ArrayDeque<>();
  private final CompletableFuture<String> listening = new CompletableFuture<>();
  private final Process process;
  private final Path directory;
  private final Thread hook;
  private final String target;

  private LarderServer(Builder builder) throws IOException {
    directory = Files.createTempDirectory("larder-test-");
    Path file = directory.resolve("larder.toml");
    Files.writeString(file, builder.config);
    ProcessBuilder start =
        new ProcessBuilder(builder.binary, "serve", "--config", file.toString());
    start.redirectErrorStream(true);
    // Variables of the caller could point the server at a store that tests must not write to.
    start.environment().keySet().removeIf(name -> name.matches("(LARDER|REDIS|OTEL)_.*"));
    start.environment().put("LARDER_LISTEN", "127.0.0.1:" + builder.port);
    start.environment().put("LARDER_ADMIN_LISTEN", "127.0.0.1:0");
    start.environment().put("LARDER_LOG__FORMAT", "json");
    start.environment().putAll(builder.environment);
    try {
      process = start.start();
    } catch (IOException error) {
      deleteFiles();
      throw new IOException(
          builder.binary + " cannot be started (LARDER_BIN names another binary)", error);
    }
    // Servers do not outlive a program that ends without stopping them.
    hook = new Thread(process::destroyForcibly, "larder-server-end");
    Runtime.getRuntime().addShutdownHook(hook);
    Thread reader = new Thread(this::read, "larder-server-log");
    reader.setDaemon(true);
    reader.start();
    target = awaitListening(builder);
  }

  /** A server with the defaults. */
  public static LarderServer start() throws IOException {
    return builder().start();
  }

  /** A builder with the defaults. */
  public static Builder builder() {
    return new Builder();
  }

  private String awaitListening(Builder builder) throws IOException {
    try {
      return listening.get(builder.timeout.toMillis(), TimeUnit.MILLISECONDS);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      close();
      throw new IOException("interrupted while the server starts", error);
    } catch (ExecutionException | TimeoutException error) {
      close();
      throw new IOException(
          builder.binary + " does not serve:\n" + String.join("\n", log()), error);
    }
  }

  private void read() {
    try (BufferedReader output = process.inputReader(StandardCharsets.UTF_8)) {
      for (String line = output.readLine(); line != null; line = output.readLine()) {
        keep(line);
        if (!listening.isDone() && line.contains("serving")) {
          look(line);
        }
      }
    } catch (IOException ended) {
      keep(ended.toString());
    }
    listening.completeExceptionally(new IOException("it has ended"));
  }

  private void look(String line) {
    try {
      JsonNode listen = JsonText.MAPPER.readTree(line).path("fields").path("listen");
      if (listen.isTextual()) {
        listening.complete(listen.asText());
      }
    } catch (JsonProcessingException other) {
      // Another line than a record of the log, which is kept as it is.
      return;
    }
  }

  private void keep(String line) {
    lock.lock();
    try {
      lines.add(line);
      if (lines.size() > KEPT_LINES) {
        lines.poll();
      }
    } finally {
      lock.unlock();
    }
  }

  /** {@code host:port} for the target of a client. */
  public String target() {
    return target;
  }

  /** Id of the process, to pause the server with a signal. */
  public long pid() {
    return process.pid();
  }

  /** The last lines of the log. */
  public List<String> log() {
    lock.lock();
    try {
      return List.copyOf(lines);
    } finally {
      lock.unlock();
    }
  }

  /** Stops the server and waits for its end. It can be repeated. */
  @Override
  public void close() {
    process.destroy();
    try {
      if (!process.waitFor(STOP_SECONDS, TimeUnit.SECONDS)) {
        process.destroyForcibly().waitFor();
      }
    } catch (InterruptedException error) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
    }
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
    } catch (IllegalStateException ending) {
      // The program ends, and with it the hook.
      keep(ending.toString());
    }
    deleteFiles();
  }

  private void deleteFiles() {
    try {
      Files.deleteIfExists(directory.resolve("larder.toml"));
      Files.deleteIfExists(directory);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Collects the options of a server. */
  public static final class Builder {
    private final Map<String, String> environment = new HashMap<>();
    private String binary = fromEnvironment();
    private String config = DEFAULT_CONFIG;
    private int port;
    private Duration timeout = Duration.ofSeconds(20);

    private Builder() {}

    private static String fromEnvironment() {
      String given = System.getenv("LARDER_BIN");
      return given == null || given.isEmpty() ? "larder" : given;
    }

    /** The binary: {@code LARDER_BIN}, else {@code larder} on the path. */
    public Builder binary(String binary) {
      this.binary = binary;
      return this;
    }

    /** Configuration in TOML, in place of one without jitter. */
    public Builder config(String config) {
      this.config = config;
      return this;
    }

    /** A variable of the server, such as {@code LARDER_LOG__LEVEL}. */
    public Builder environment(String name, String value) {
      environment.put(name, value);
      return this;
    }

    /** Port; 0, the default, is a free one. */
    public Builder port(int port) {
      this.port = port;
      return this;
    }

    /** Time for the start: 20 s. */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /**
     * Starts the server and waits until it serves.
     *
     * @throws IOException with the output of the server if it does not start
     */
    public LarderServer start() throws IOException {
      return new LarderServer(this);
    }
  }
}
