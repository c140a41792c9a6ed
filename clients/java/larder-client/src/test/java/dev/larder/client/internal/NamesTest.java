package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Names, targets and patterns. */
class NamesTest {
  @Test
  void goldenNamesOfNamespaces() {
    assertEquals("users", Names.namespace("users"));
    assertEquals("x--testcache-31c3463f6768e21d", Names.namespace("testCache"));
    assertEquals("x--a-b-6783a31eabf68ccc", Names.namespace("a:b"));
    assertThrows(IllegalArgumentException.class, () -> Names.namespace(""));
    assertThrows(IllegalArgumentException.class, () -> Names.namespace("\ud800"));
  }

  @Test
  void longKeysAreCutBetweenCharacters() {
    assertEquals("k".repeat(1024), Names.key("k".repeat(1024)));
    String cut = Names.key("é".repeat(600));
    assertTrue(cut.startsWith("é".repeat(450) + "#"), cut);
    assertEquals(450 + 1 + 64, cut.length());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "127.0.0.1:5|true",
        "localhost:5|true",
        "[::1]:5|true",
        "unix:/run/larder.sock|true",
        "dns:///cache.internal:50051|false",
        "dns://8.8.8.8/cache:50051|false",
        "10.0.0.1:5|false",
        "127.0.0.1:5,10.0.0.1:5|false",
        "127.0.0.1:5, [::1]:6|true"
      })
  void targetsOnThisMachine(String target, boolean loopback) {
    assertEquals(loopback, Target.parse(target).loopback());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", "host", "host:0", "host:99999", ":50051", "http://h:5", "a:1,,b:2", "a:x"})
  void targetsThatAreRefused(String target) {
    String message =
        assertThrows(IllegalArgumentException.class, () -> Target.parse(target)).getMessage();
    assertTrue(message.startsWith("target: "), message);
  }

  @ParameterizedTest
  @CsvSource({
    "user:*,user:7,true",
    "user:?,user:77,false",
    "[a-c]x,bx,true",
    "[!a-c]x,bx,false",
    "[]x]y,]y,true",
    "\\*,*,true",
    "\\*,a,false",
    "a.b,axb,false",
    "*7,user:7,true"
  })
  void patterns(String glob, String key, boolean matches) {
    assertEquals(matches, Globs.matcher(glob).test(key));
  }

  @Test
  void patternsThatAreNone() {
    assertNull(Globs.matcher("[a"));
    assertNull(Globs.matcher("a\\"));
    assertNull(Globs.matcher("[z-a]"));
  }

  @Test
  void recordsOfTypesThatCannotChangeAreShared() {
    record Point(int x, String name) {}
    record Holder(Point point, java.util.List<String> names) {}
    assertTrue(Immutable.isImmutable(new Point(1, "a")));
    assertFalse(Immutable.isImmutable(new Holder(null, null)));
    assertTrue(Immutable.isImmutable(java.time.Instant.EPOCH));
    assertFalse(Immutable.isImmutable(new byte[0]));
  }
}
