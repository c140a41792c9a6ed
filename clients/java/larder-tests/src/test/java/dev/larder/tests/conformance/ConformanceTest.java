package dev.larder.tests.conformance;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.larder.client.LarderClient;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * The conformance cases of all client libraries, on the real server and on the fake, with the
 * blocking and with the asynchronous interface.
 *
 * <p>{@code LARDER_BIN} and {@code LARDER_CLIENT_CONTROL} name the programs, and {@code
 * LARDER_CONFORMANCE_STORE} the store, {@code memory} or {@code redis}. {@code larder.case} names
 * one case.
 */
class ConformanceTest {
  private static final List<String> CLIENT =
      List.of(
          "threads",
          "two_clients",
          "cancel",
          "call_keys",
          "more_types",
          "tracing",
          "big_integers");

  private static Map<String, Object> suite;
  private static Map<String, String> skips;

  /** One for each kind: the entries of one kind must not be those of another. */
  private static final List<Control> CONTROLS = new ArrayList<>();

  @BeforeAll
  static void start() throws IOException {
    suite =
        Grammar.map(
            Grammar.JSON.readValue(
                Control.CONFORMANCE.resolve("suite.json").toFile(), Map.class));
    skips = skips();
    boolean mustRun = "true".equals(System.getenv("CI"));
    assertTrue(!mustRun || Control.missing().isEmpty(), "not built: " + Control.missing());
  }

  @AfterAll
  static void stop() throws IOException {
    for (Control control : CONTROLS) {
      control.close();
    }
  }

  /** Reasons by the name of a test, such as {@code async/ttl/zero}; {@code *} is every kind. */
  private static Map<String, String> skips() throws IOException {
    Map<String, String> found = new LinkedHashMap<>();
    for (String line : Files.readAllLines(Control.CONFORMANCE.resolve("skips/java.txt"))) {
      if (!line.isBlank() && !line.startsWith("#")) {
        int space = (line + " ").indexOf(' ');
        found.put(line.substring(0, space), line.substring(space).trim());
      }
    }
    return found;
  }

  /** Makes the place of a case. */
  @FunctionalInterface
  private interface Places {
    Place open(Map<String, Object> test);
  }

  private static List<DynamicTest> cases(
      String kind, List<String> features, boolean async, Places places) {
    List<String> possible = new ArrayList<>(CLIENT);
    possible.addAll(features);
    String only = System.getProperty("larder.case");
    List<DynamicTest> tests = new ArrayList<>();
    for (Object one : Grammar.list(suite.get("cases"))) {
      Map<String, Object> test = Grammar.map(one);
      String id = (String) test.get("id");
      boolean chosen = only == null || id.matches(only);
      if (chosen && possible.containsAll(Grammar.list(test.get("needs")))) {
        tests.add(DynamicTest.dynamicTest(kind + "/" + id, () -> check(kind, test, async, places)));
      }
    }
    return tests;
  }

  /** Notes a case that passed, for the table in docs/clients.md. */
  private static void report(String passed) throws IOException {
    String folder = System.getenv("LARDER_CONFORMANCE_REPORT");
    if (folder != null) {
      Files.writeString(
          Path.of(folder, "java.txt"),
          passed + "\n",
          StandardOpenOption.CREATE,
          StandardOpenOption.APPEND);
    }
  }

  /** A case passes, or is in the list of skips and fails. */
  private static void check(
      String kind, Map<String, Object> test, boolean async, Places places) throws Exception {
    String id = (String) test.get("id");
    String reason = skips.getOrDefault(kind + "/" + id, skips.get("*/" + id));
    CaseRun run = new CaseRun(test, places.open(test), async);
    if (reason == null) {
      run.run();
      report(kind + "/" + id);
      return;
    }
    boolean failed = false;
    try {
      run.run();
    } catch (AssertionError expected) {
      failed = true;
    }
    assertTrue(failed, "the case passes: remove it from the skips (" + reason + ")");
    abort(reason);
  }

  private static List<DynamicTest> onServer(String kind, boolean async) throws IOException {
    if (!Control.missing().isEmpty()) {
      return List.of();
    }
    Control control = Control.start();
    CONTROLS.add(control);
    warmUp(control);
    return cases(
        kind,
        Place.Real.FEATURES,
        async,
        test -> new Place.Real(control, Grammar.list(test.get("needs"))));
  }

  /** The first connection of a program loads classes, which takes seconds on a busy machine. */
  private static void warmUp(Control control) {
    Duration patience = Duration.ofMinutes(1);
    try (LarderClient client =
        LarderClient.builder()
            .target(control.addresses.get("server").toString())
            .callTimeout(patience)
            .connectTimeout(patience)
            .build()) {
      assertTrue(client.namespace("warm", Object.class).set("k", 1).stored());
    }
  }

  @TestFactory
  List<DynamicTest> blocking() throws IOException {
    return onServer("blocking", false);
  }

  @TestFactory
  List<DynamicTest> async() throws IOException {
    return onServer("async", true);
  }

  private List<DynamicTest> onFake(String kind, boolean async) {
    return cases(
        kind,
        FakePlace.FEATURES,
        async,
        test -> new FakePlace(Grammar.map(suite.get("configuration")), test));
  }

  @TestFactory
  List<DynamicTest> fakeBlocking() {
    return onFake("fake-blocking", false);
  }

  @TestFactory
  List<DynamicTest> fakeAsync() {
    return onFake("fake-async", true);
  }

  @Test
  void skipsNameCasesWithAReason() {
    List<Object> ids =
        Grammar.list(suite.get("cases")).stream()
            .map(test -> Grammar.map(test).get("id"))
            .toList();
    skips.forEach(
        (name, reason) -> {
          String id = name.substring(name.indexOf('/') + 1);
          assertTrue(ids.contains(id), "no case of the skip " + name);
          assertFalse(reason.isEmpty(), "the skip " + name + " has no reason");
        });
  }
}
