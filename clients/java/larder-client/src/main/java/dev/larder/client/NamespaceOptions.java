package dev.larder.client;

import java.time.Duration;
import java.util.List;

/**
 * Defaults of a handle. The methods return a new object.
 *
 * @param ttl how long values are fresh; null: the server's default
 * @param tags tags of every value that the handle writes
 * @param onError what calls do at an outage; null: the client's choice
 * @param nearCache keep values in this process; null: not
 */
public record NamespaceOptions(
    Duration ttl, List<String> tags, OnError onError, NearCacheOptions nearCache) {
  /** The defaults. */
  public static final NamespaceOptions DEFAULTS =
      new NamespaceOptions(null, List.of(), null, null);

  /** Copies the tags. */
  public NamespaceOptions {
    tags = List.copyOf(tags);
  }

  /** With a TTL. */
  public NamespaceOptions ttl(Duration ttl) {
    return new NamespaceOptions(ttl, tags, onError, nearCache);
  }

  /** With tags. */
  public NamespaceOptions tags(String... tags) {
    return new NamespaceOptions(ttl, List.of(tags), onError, nearCache);
  }

  /** With another answer to outages. */
  public NamespaceOptions onError(OnError onError) {
    return new NamespaceOptions(ttl, tags, onError, nearCache);
  }

  /** With a near cache of the default size. Keep the handle: each has a near cache of its own. */
  public NamespaceOptions withNearCache() {
    return nearCache(NearCacheOptions.DEFAULTS);
  }

  /** With a near cache. Keep the handle: each has a near cache of its own. */
  public NamespaceOptions nearCache(NearCacheOptions nearCache) {
    return new NamespaceOptions(ttl, tags, onError, nearCache);
  }
}
