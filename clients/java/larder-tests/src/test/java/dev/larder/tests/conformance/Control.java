package dev.larder.tests.conformance;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Stream;

/** The control program (crates/client-control): servers, faults and recorded calls. */
final class Control implements AutoCloseable {
  static final Path REPOSITORY = repository();
  static final Path CONFORMANCE = REPOSITORY.resolve("clients/conformance");

  private final ReentrantLock lock = new ReentrantLock();
  private final Process process;
  private final Writer input;
  private final BufferedReader output;
  private String state = "start";
  Map<String, Object> addresses;

  private Control(Process process) {
    this.process = process;
    input = process.outputWriter(StandardCharsets.UTF_8);
    output = process.inputReader(StandardCharsets.UTF_8);
  }

  private static Path repository() {
    Path directory = Path.of("").toAbsolutePath();
    while (!Files.exists(directory.resolve("clients/conformance"))) {
      directory = directory.getParent();
    }
    return directory;
  }

  private static Path program(String variable, String name) {
    String given = System.getenv(variable);
    return given == null || given.isEmpty()
        ? REPOSITORY.resolve("target/debug").resolve(name)
        : Path.of(given);
  }

  /** The programs that are not built, with the variables that name others. */
  static List<String> missing() {
    return Stream.of(
            Map.entry("LARDER_BIN", "larder"),
            Map.entry("LARDER_CLIENT_CONTROL", "client-control"))
        .filter(each -> !Files.isExecutable(program(each.getKey(), each.getValue())))
        .map(each -> program(each.getKey(), each.getValue()) + " (" + each.getKey() + ")")
        .toList();
  }

  /** Starts the program and a server. */
  static Control start() throws IOException {
    Process process =
        new ProcessBuilder(program("LARDER_CLIENT_CONTROL", "client-control").toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    Control control = new Control(process);
    String store = System.getenv("LARDER_CONFORMANCE_STORE");
    control.addresses =
        Grammar.map(
            control.command(
                "start",
                Map.of(
                    "binary", program("LARDER_BIN", "larder").toString(),
                    "config", CONFORMANCE.resolve("larder.toml").toString(),
                    "store", store == null || store.isEmpty() ? "memory" : store)));
    return control;
  }

  /** Runs a command, and returns its result. */
  Object command(String name, Map<String, ?> arguments) {
    Map<String, Object> line = new LinkedHashMap<>(arguments);
    line.put("do", name);
    lock.lock();
    try {
      input.write(Grammar.JSON.writeValueAsString(line) + "\n");
      input.flush();
      String text = output.readLine();
      if (text == null) {
        throw new IOException("the control program has ended");
      }
      Map<?, ?> answer = Grammar.JSON.readValue(text, Map.class);
      if (answer.get("error") != null) {
        throw new IOException("control program: " + answer.get("error"));
      }
      return answer.get("ok");
    } catch (IOException error) {
      throw new java.io.UncheckedIOException(error);
    } finally {
      lock.unlock();
    }
  }

  /** Forgets calls, script and faults. The gateway has another port afterwards. */
  void clear() {
    addresses = Grammar.map(command("clear", Map.of()));
  }

  /** Stops, starts, pauses or resumes the server. */
  void server(String next) {
    command("server", Map.of("state", next));
    state = next;
  }

  /** The server runs again, whatever a case has done to it. */
  void restore() {
    if (state.equals("pause")) {
      server("resume");
    } else if (state.equals("stop")) {
      server("start");
    }
  }

  @Override
  public void close() throws IOException {
    input.close();
    try {
      process.waitFor();
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
  }
}
