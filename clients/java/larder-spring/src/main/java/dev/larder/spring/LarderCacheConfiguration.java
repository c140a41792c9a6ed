package dev.larder.spring;

import dev.larder.client.NearCacheOptions;
import java.lang.reflect.Type;
import java.time.Duration;
import java.util.List;
import java.util.Objects;

/**
 * Settings of a cache. The methods return a new object.
 *
 * @param namespace name of the namespace; null: that of the cache
 * @param ttl how long values are fresh; null: the server's default
 * @param tags tags of every value
 * @param nullValues whether null is a value; otherwise to store it is an error
 * @param type type of values that no method declares; Object: unknown
 * @param codecs form of the values
 * @param nearCache keep values in this process; null: not
 * @param waitTimeout how long {@code sync = true} waits for the computation of another process;
 *     null: 5 s. After that the method runs, and its value is not stored
 */
public record LarderCacheConfiguration(
    String namespace,
    Duration ttl,
    List<String> tags,
    boolean nullValues,
    Type type,
    CacheCodecs codecs,
    NearCacheOptions nearCache,
    Duration waitTimeout) {
  /** The defaults. */
  public static final LarderCacheConfiguration DEFAULTS =
      new LarderCacheConfiguration(
          null, null, List.of(), true, Object.class, CacheCodecs.json(), null, null);

  /** Copies the tags. */
  public LarderCacheConfiguration {
    tags = List.copyOf(tags);
    Objects.requireNonNull(type, "type: must not be null");
    Objects.requireNonNull(codecs, "codecs: must not be null");
    if (namespace != null && namespace.isEmpty()) {
      throw new IllegalArgumentException("namespace: must not be empty");
    }
    if (waitTimeout != null && waitTimeout.isNegative()) {
      throw new IllegalArgumentException("waitTimeout: must not be negative");
    }
  }

  /** With a namespace of another name. */
  public LarderCacheConfiguration namespace(String namespace) {
    return new LarderCacheConfiguration(
        namespace, ttl, tags, nullValues, type, codecs, nearCache, waitTimeout);
  }

  /** With a TTL. */
  public LarderCacheConfiguration ttl(Duration ttl) {
    return new LarderCacheConfiguration(
        namespace, ttl, tags, nullValues, type, codecs, nearCache, waitTimeout);
  }

  /** With tags of every value. */
  public LarderCacheConfiguration tags(String... tags) {
    return new LarderCacheConfiguration(
        namespace, ttl, List.of(tags), nullValues, type, codecs, nearCache, waitTimeout);
  }

  /** With or without null as a value. */
  public LarderCacheConfiguration nullValues(boolean nullValues) {
    return new LarderCacheConfiguration(
        namespace, ttl, tags, nullValues, type, codecs, nearCache, waitTimeout);
  }

  /** With a type for values that no method declares. */
  public LarderCacheConfiguration type(Type type) {
    return new LarderCacheConfiguration(
        namespace, ttl, tags, nullValues, type, codecs, nearCache, waitTimeout);
  }

  /** With another form of the values. */
  public LarderCacheConfiguration codecs(CacheCodecs codecs) {
    return new LarderCacheConfiguration(
        namespace, ttl, tags, nullValues, type, codecs, nearCache, waitTimeout);
  }

  /** With a near cache for each type of values; null: without. */
  public LarderCacheConfiguration nearCache(NearCacheOptions nearCache) {
    return new LarderCacheConfiguration(
        namespace, ttl, tags, nullValues, type, codecs, nearCache, waitTimeout);
  }

  /** With a longest wait for the computation of another process. */
  public LarderCacheConfiguration waitTimeout(Duration waitTimeout) {
    return new LarderCacheConfiguration(
        namespace, ttl, tags, nullValues, type, codecs, nearCache, waitTimeout);
  }
}
