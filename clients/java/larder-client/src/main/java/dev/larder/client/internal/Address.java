package dev.larder.client.internal;

import dev.larder.client.Key;
import java.util.Map;

/**
 * An entry of a namespace as the server has it; equal for equal entries.
 *
 * @param key the key as it is sent
 * @param params the params as they are sent
 */
public record Address(String key, Map<String, String> params) {
  /** The address of a key. */
  public static Address of(Key key) {
    return new Address(Names.key(key.key()), Names.params(key.params()));
  }

  /**
   * The address of a key of a batch.
   *
   * @throws IllegalArgumentException if it is neither text nor a {@link Key}
   */
  public static Address ofAny(Object key) {
    return of(keyOf(key));
  }

  /** The key of a batch. */
  public static Key keyOf(Object key) {
    if (key instanceof Key whole) {
      return whole;
    }
    if (key instanceof String text) {
      return Key.of(text);
    }
    String type = key == null ? "null" : key.getClass().getName();
    throw new IllegalArgumentException("keys: expected String or Key, got " + type);
  }
}
