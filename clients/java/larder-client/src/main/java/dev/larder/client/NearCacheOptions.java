package dev.larder.client;

/**
 * Bounds of a near cache. The methods return a new object.
 *
 * @param maxBytes bytes of values and keys: 64 MiB
 * @param maxEntries entries: 10,000
 * @param shareValues readers share the decoded values, which they must not change. Otherwise only
 *     values of types that cannot change are shared, and others are decoded for each reader
 */
public record NearCacheOptions(long maxBytes, int maxEntries, boolean shareValues) {
  /** The defaults. */
  public static final NearCacheOptions DEFAULTS =
      new NearCacheOptions(64L * 1024 * 1024, 10_000, false);

  /** Checks the bounds. */
  public NearCacheOptions {
    if (maxBytes < 1) {
      throw new IllegalArgumentException("nearCache.maxBytes: must be positive");
    }
    if (maxEntries < 1) {
      throw new IllegalArgumentException("nearCache.maxEntries: must be positive");
    }
  }

  /** With a bound of bytes. */
  public NearCacheOptions maxBytes(long maxBytes) {
    return new NearCacheOptions(maxBytes, maxEntries, shareValues);
  }

  /** With a bound of entries. */
  public NearCacheOptions maxEntries(int maxEntries) {
    return new NearCacheOptions(maxBytes, maxEntries, shareValues);
  }

  /** With values that readers share. */
  public NearCacheOptions shareValues(boolean shareValues) {
    return new NearCacheOptions(maxBytes, maxEntries, shareValues);
  }
}
