package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.testing.LarderServer;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** The examples of the README compile, run, and print what is in their comments. */
class ReadmeTest {
  private static final Pattern BLOCK =
      Pattern.compile("^```java\\n(.*?)^```", Pattern.MULTILINE | Pattern.DOTALL);
  private static final Pattern PRINTED =
      Pattern.compile("System\\.out\\.println\\(.*\\); // (.*)$", Pattern.MULTILINE);
  private static final int BLOCKS = 8;

  @TempDir static Path directory;

  @TestFactory
  List<DynamicTest> blocks() throws IOException {
    Path readme = Path.of("..", "README.md");
    Matcher block = BLOCK.matcher(Files.readString(readme));
    List<DynamicTest> tests = new ArrayList<>();
    while (block.find()) {
      String code = block.group(1);
      String name = "Block" + tests.size();
      tests.add(DynamicTest.dynamicTest(name, () -> check(name, code)));
    }
    assertTrue(tests.size() >= BLOCKS, "only " + tests.size() + " blocks");
    return tests;
  }

  private static void check(String name, String code) throws IOException, InterruptedException {
    StringBuilder imports = new StringBuilder();
    StringBuilder body = new StringBuilder();
    code.lines()
        .forEach(
            line -> (line.startsWith("import ") ? imports : body).append(line).append('\n'));
    Path source = directory.resolve(name + ".java");
    Files.writeString(
        source,
        imports
            + "public class "
            + name
            + " { public static void main(String[] args) throws Exception {\n"
            + withTime(body.toString())
            + "}}\n");
    StringWriter errors = new StringWriter();
    var compiler = ToolProvider.getSystemJavaCompiler();
    try (var files = compiler.getStandardFileManager(null, null, null)) {
      List<String> options =
          List.of("-d", directory.toString(), "-cp", System.getProperty("java.class.path"));
      boolean compiled =
          compiler
              .getTask(errors, files, null, options, null, files.getJavaFileObjects(source))
              .call();
      assertTrue(compiled, errors.toString());
    }
    List<String> expected = new ArrayList<>();
    Matcher printed = PRINTED.matcher(code);
    while (printed.find()) {
      expected.add(printed.group(1));
    }
    assertTrue(!expected.isEmpty(), "the block prints nothing");
    assertEquals(expected, run(name));
  }

  /** Gives the calls 5 s: the first ones of a program have little time on a busy machine. */
  private static String withTime(String body) {
    return body.replace("LarderClient.create()", "LarderClient.builder().build()")
        .replace(
            "LarderClient.builder()",
            "LarderClient.builder().preset(dev.larder.client.Preset.LOCAL)");
  }

  private static List<String> run(String name) throws IOException, InterruptedException {
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    String path = directory + ":" + System.getProperty("java.class.path");
    // A provider of JCache has its limits from properties.
    ProcessBuilder program =
        new ProcessBuilder(
            java, "-XX:TieredStopAtLevel=1", "-Dlarder.preset=local", "-cp", path, name);
    try (LarderServer server = LarderServer.start()) {
      program.environment().put("LARDER_ENDPOINT", server.target());
      // The log of an outage is no output.
      program.redirectError(directory.resolve(name + ".log").toFile());
      Process process = program.start();
      String output = new String(process.getInputStream().readAllBytes());
      assertTrue(process.waitFor(30, TimeUnit.SECONDS), "the program does not end");
      return output.lines().filter(line -> !line.isBlank()).toList();
    }
  }
}
