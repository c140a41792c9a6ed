package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.Key;
import dev.larder.spring.CacheKeyEncoder;
import java.math.BigDecimal;
import java.time.LocalDate;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.Test;
import org.springframework.cache.interceptor.SimpleKey;
import org.springframework.cache.interceptor.SimpleKeyGenerator;

/** Keys of Spring as keys of Larder. */
class KeysTest {
  private static final CacheKeyEncoder KEYS = CacheKeyEncoder.canonical();

  private enum Color {
    RED
  }

  private record Place(String town, int code) {}

  @Test
  void textAndIntegersStayReadable() {
    assertEquals(Key.of("user:7"), KEYS.encode("user:7"));
    assertEquals(Key.of("7"), KEYS.encode(7));
    assertEquals(Key.of("7"), KEYS.encode(7L));
    assertEquals(Key.of("7"), KEYS.encode("7"));
    assertEquals(Key.of("ünder"), KEYS.encode("ünder"));
    assertEquals(Key.of("RED"), KEYS.encode(Color.RED));
  }

  @Test
  void severalArgumentsAreAList() {
    assertEquals(
        new Key("[\"a\",7]", Map.of("arguments", "2")), KEYS.encode(new SimpleKey("a", 7)));
    assertEquals(new Key("[]", Map.of("arguments", "0")), KEYS.encode(SimpleKey.EMPTY));
    assertEquals(
        new Key("[null]", Map.of("arguments", "1")),
        KEYS.encode(SimpleKeyGenerator.generateKey((Object) null)));
  }

  @Test
  void differentKeysAreDifferent() {
    List<Object> keys =
        Arrays.asList(
            "a",
            "",
            "\"\"",
            "null",
            true,
            "true",
            1.5,
            "1.5",
            new BigDecimal("1.5"),
            new BigDecimal("1.50"),
            "[]",
            "[\"a\"]",
            List.of(),
            List.of("a"),
            Set.of("a"),
            SimpleKey.EMPTY,
            new SimpleKey("a", null),
            new SimpleKey("a,b", "c"),
            new SimpleKey("a", "b,c"),
            new SimpleKey((Object) new int[] {1, 2}),
            new SimpleKey(1, 2),
            new SimpleKey("1", 2),
            LocalDate.of(2026, 11, 30),
            "2026-11-30",
            UUID.fromString("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            new Place("a", 1),
            Map.of("town", "b"),
            "{\"town\":\"b\"}",
            new byte[] {1},
            "{\"$bytes\":\"AQ==\"}");
    Map<Key, Object> encoded = new HashMap<>();
    for (Object key : keys) {
      Object other = encoded.put(KEYS.encode(key), key);
      assertTrue(other == null, other + " and " + key);
    }
    assertEquals(keys.size(), encoded.size());
  }

  @Test
  void equalKeysAreEqual() {
    assertEquals(
        KEYS.encode(new SimpleKey("a", new Place("b", 1))),
        KEYS.encode(new SimpleKey("a", new Place("b", 1))));
    assertEquals(KEYS.encode(new int[] {1, 2}), KEYS.encode(new int[] {1, 2}));
    assertEquals(
        KEYS.encode(new SimpleKey("a", new Object[] {"b", 1})),
        KEYS.encode(new SimpleKey("a", new Object[] {"b", 1})));
    Map<String, Object> map = new HashMap<>(Map.of("b", 2, "a", 1));
    assertEquals(KEYS.encode(map), KEYS.encode(new java.util.TreeMap<>(map)));
  }

  @Test
  void whatHasNoFormIsRefused() {
    IllegalArgumentException error =
        assertThrows(
            IllegalArgumentException.class,
            () -> KEYS.encode(new SimpleKey("a", new Object())));
    assertTrue(error.getMessage().contains("key[1]"), error.getMessage());
    assertTrue(error.getMessage().contains("java.lang.Object"), error.getMessage());
  }
}
