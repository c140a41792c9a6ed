package dev.larder.tests.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.Preset;
import dev.larder.client.Result;
import dev.larder.client.WriteOptions;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Values that other languages read, and values that other languages have written. {@code
 * clients/conformance/matrix.sh} runs it, first with {@code LARDER_MATRIX=write} and then with
 * {@code read}.
 */
class MatrixTest {
  private static List<Object> rows() throws IOException {
    Map<String, Object> suite =
        Grammar.map(
            Grammar.JSON.readValue(
                Control.CONFORMANCE.resolve("suite.json").toFile(), Map.class));
    return Grammar.list(suite.get("matrix"));
  }

  private static Namespace<Object> namespace(LarderClient client, String language) {
    return client.namespace("matrix-" + language, Object.class, NamespaceOptions.DEFAULTS);
  }

  private static LarderClient client() {
    return LarderClient.builder()
        .target(System.getenv("LARDER_MATRIX_TARGET"))
        .preset(Preset.LOCAL)
        .build();
  }

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static Key key(Map<String, Object> row) {
    Object params = Grammar.expand(row.getOrDefault("params", Map.of()), Map.of());
    return new Key((String) Grammar.expand(row.get("key"), Map.of()), (Map) params);
  }

  @TestFactory
  List<DynamicTest> matrix() {
    List<DynamicTest> tests = new ArrayList<>();
    String mode = System.getenv("LARDER_MATRIX");
    if ("write".equals(mode)) {
      tests.add(DynamicTest.dynamicTest("write", MatrixTest::write));
    } else if ("read".equals(mode)) {
      for (String writer : System.getenv("LARDER_MATRIX_WRITERS").trim().split("\\s+")) {
        tests.add(DynamicTest.dynamicTest("read of " + writer, () -> read(writer)));
      }
    }
    return tests;
  }

  private static void write() throws IOException {
    try (LarderClient client = client()) {
      Namespace<Object> namespace = namespace(client, "java");
      for (Object each : rows()) {
        Map<String, Object> row = Grammar.map(each);
        Key key = key(row);
        if (row.containsKey("increment")) {
          long amount = ((Number) row.get("increment")).longValue();
          assertEquals(amount, namespace.increment(key.key(), amount).value());
        } else if (row.containsKey("fetch")) {
          Object value = Grammar.expand(row.get("fetch"), Map.of());
          Result<Object> result = namespace.getOrFetch(key.key(), context -> value);
          assertTrue(result.stored().orElseThrow().stored());
        } else {
          Object value = Grammar.expand(row.get("value"), Map.of());
          WriteOptions options =
              WriteOptions.DEFAULTS.tags(
                  Grammar.list(row.get("tags")).toArray(String[]::new));
          assertTrue(namespace.set(key, value, options).stored(), key.key());
        }
      }
    }
  }

  private static void read(String writer) throws IOException {
    try (LarderClient client = client()) {
      Namespace<Object> namespace = namespace(client, writer);
      for (Object each : rows()) {
        Map<String, Object> row = Grammar.map(each);
        boolean all = Grammar.list(row.get("needs")).isEmpty();
        Result<Object> result = namespace.get(key(row));
        if (!all && !result.found()) {
          // A language without such values has not written it.
          continue;
        }
        String shown = Grammar.shown(row.get("key"));
        assertTrue(result.found(), shown);
        Object expected = Grammar.expand(row.get("value"), Map.of());
        assertTrue(Grammar.same(expected, result.value()), shown + ": " + result.value());
        List<Object> tags =
            Grammar.list(row.get("tags")).stream().sorted().toList();
        assertEquals(tags, new ArrayList<Object>(result.tags()), shown);
      }
    }
  }
}
