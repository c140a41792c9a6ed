package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.larder.spring.LarderCacheManager;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The program of docs/spring.md runs, and its properties are those that there are. */
class DocsTest {
  private static final Path DOCS = Path.of("..", "docs", "spring.md");
  private static final Pattern PROGRAM =
      Pattern.compile("^```java\\n(.*?)^```", Pattern.MULTILINE | Pattern.DOTALL);
  private static final Pattern PRINTED =
      Pattern.compile("users\\.find\\(.*\\); // (.*)$", Pattern.MULTILINE);
  private static final Pattern ROW =
      Pattern.compile("^\\| `(larder\\.[^`]*)`(.*)$", Pattern.MULTILINE);
  private static final Pattern NAME = Pattern.compile("`([a-z.-]+)`");

  @TempDir Path directory;

  @Test
  void theProgramPrintsItsComments() throws IOException, InterruptedException {
    Matcher block = PROGRAM.matcher(Files.readString(DOCS));
    assertTrue(block.find());
    Path source = directory.resolve("Shop.java");
    // In a package, as that without a name has all classes there are.
    Files.writeString(source, "package shop;\n" + block.group(1));
    StringWriter errors = new StringWriter();
    String classes = System.getProperty("java.class.path");
    var compiler = ToolProvider.getSystemJavaCompiler();
    try (var files = compiler.getStandardFileManager(null, null, null)) {
      List<String> options = List.of("-parameters", "-d", directory.toString(), "-cp", classes);
      var units = files.getJavaFileObjects(source);
      assertTrue(
          compiler.getTask(errors, files, null, options, null, units).call(), errors.toString());
    }
    List<String> expected = new ArrayList<>();
    Matcher printed = PRINTED.matcher(block.group(1));
    while (printed.find()) {
      expected.add(printed.group(1));
    }
    assertEquals(2, expected.size());
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:TieredStopAtLevel=1",
                "-cp",
                directory + ":" + classes,
                "shop.Shop",
                "--server.port=0",
                "--spring.main.banner-mode=off",
                "--larder.namespace-prefix=" + TestServer.fresh("docs"),
                "--logging.level.root=off"));
    TestServer.properties(TestServer.target())
        .forEach((name, value) -> command.add("--" + name + "=" + value));
    ProcessBuilder program = new ProcessBuilder(command);
    program.redirectErrorStream(true);
    Process process = program.start();
    String output = new String(process.getInputStream().readAllBytes());
    assertTrue(process.waitFor(60, TimeUnit.SECONDS), "the program does not end");
    assertEquals(expected, output.lines().filter(line -> line.startsWith("find")).toList(), output);
  }

  @Test
  void thePropertiesAreThoseOfTheMetadata() throws IOException {
    TreeSet<String> documented = new TreeSet<>();
    Matcher row = ROW.matcher(Files.readString(DOCS));
    while (row.find()) {
      String name = row.group(1);
      if (name.contains("<")) {
        documented.add("larder.cache.caches");
      } else if (name.endsWith(".*")) {
        String prefix = name.substring(0, name.length() - 1);
        Matcher each = NAME.matcher(row.group(2).substring(row.group(2).lastIndexOf(" | ")));
        while (each.find()) {
          documented.add(prefix + each.group(1));
        }
      } else {
        documented.add(name);
        Matcher more = NAME.matcher(row.group(2));
        while (more.find()) {
          if (more.group(1).startsWith("larder.")) {
            documented.add(more.group(1));
          }
        }
      }
    }
    TreeSet<String> known = new TreeSet<>();
    JsonNode metadata =
        new ObjectMapper()
            .readTree(
                LarderCacheManager.class.getResource(
                    "/META-INF/spring-configuration-metadata.json"));
    for (JsonNode property : metadata.path("properties")) {
      assertTrue(!property.path("description").asText().isEmpty(), property.toString());
      if (property.path("name").asText().startsWith("larder.")) {
        known.add(property.path("name").asText());
      }
    }
    assertEquals(known, documented);
  }
}
