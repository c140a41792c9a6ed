package dev.larder.spring;

import dev.larder.client.Key;

/** Turns the keys of Spring into those of Larder. Different keys must have different forms. */
@FunctionalInterface
public interface CacheKeyEncoder {
  /**
   * The key of an entry.
   *
   * @throws IllegalArgumentException if the object cannot be a key
   */
  Key encode(Object key);

  /**
   * The default: text and integers as they are, other values as clients/README.md has them ("Keys
   * of function calls"), and several arguments as a list. So other programs can compute the keys.
   */
  static CacheKeyEncoder canonical() {
    return CanonicalKeys.INSTANCE;
  }
}
