package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.function.Predicate;
import org.junit.jupiter.api.Test;

/** Patterns of keys. */
class GlobsTest {
  private static boolean matches(String glob, String key) {
    return Globs.matcher(glob).test(key);
  }

  @Test
  void patternsMatchWholeKeys() {
    for (List<String> pair :
        List.of(
            List.of("", ""), List.of("*", ""), List.of("*", "anything"), List.of("a*", "a"),
            List.of("a*c", "abc"), List.of("*a*b", "xaxbxb"), List.of("a**b", "ab"),
            List.of("?", "x"), List.of("?", "\ud83d\ude00"),
            List.of("*?", "\ud83d\ude00\ud83d\ude00"),
            List.of("[a-c]x", "bx"), List.of("[^a-c]", "d"), List.of("[!a-c]", "d"),
            List.of("[]]", "]"), List.of("[^]]", "a"), List.of("[a-]", "-"), List.of("[-a]", "-"),
            List.of("[\\]]", "]"), List.of("[a\\-c]", "-"), List.of("\\*", "*"),
            List.of("a.b", "a.b"),
            List.of("*\n*", "a\nb"), List.of("user:*:profile", "user:7:profile"))) {
      assertTrue(matches(pair.get(0), pair.get(1)), pair.toString());
    }
    for (List<String> pair :
        List.of(
            List.of("", "a"), List.of("a*", "ba"), List.of("*a", "ab"), List.of("?", ""),
            List.of("?", "ab"), List.of("[a-c]", "d"), List.of("[^a-c]", "b"),
            List.of("a.b", "axb"),
            List.of("[a\\-c]", "b"), List.of("\\*", "x"), List.of("*aab", "aaaaac"))) {
      assertFalse(matches(pair.get(0), pair.get(1)), pair.toString());
    }
    for (String wrong : List.of("[", "[a", "[]", "\\", "[a\\", "[c-a]")) {
      assertNull(Globs.matcher(wrong), wrong);
    }
  }

  @Test
  void noPatternTakesLong() {
    Predicate<String> matcher = Globs.matcher("*a".repeat(16) + "b");
    String key = "a".repeat(1000);
    assertTimeoutPreemptively(
        Duration.ofSeconds(20),
        () -> {
          for (int round = 0; round < 100; round++) {
            assertFalse(matcher.test(key));
          }
        });
    assertEquals(true, matcher.test(key + "b"));
  }
}
