package dev.larder.client;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/**
 * The key of an entry, with params that make several entries of one key, such as query parameters.
 *
 * @param key text that is not empty
 * @param params names and values; their order does not matter
 */
public record Key(String key, Map<String, String> params) {
  /** Checks that nothing is null. */
  public Key {
    Objects.requireNonNull(key, "key: must not be null");
    params = params.isEmpty() ? Map.of() : Map.copyOf(params);
  }

  /** A key without params. */
  public static Key of(String key) {
    return new Key(key, Map.of());
  }

  /** The same key with one more param. */
  public Key param(String name, String value) {
    Map<String, String> all = new LinkedHashMap<>(params);
    all.put(name, value);
    return new Key(key, all);
  }

  /** The same key with these params in place of its own. */
  public Key params(Map<String, String> params) {
    return new Key(key, params);
  }
}
