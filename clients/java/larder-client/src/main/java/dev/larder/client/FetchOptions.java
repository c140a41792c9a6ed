package dev.larder.client;

import java.time.Duration;
import java.util.List;

/**
 * Options of {@code getOrFetch}. The methods return a new object.
 *
 * @param ttl how long the computed value is fresh
 * @param tags tags of the computed value, in addition to those of the handle
 * @param timeout how long to wait for the computation of another process; 5 s by default. After
 *     that the loader runs, and its value is not stored
 * @param refresh compute the value even if there is a fresh one
 * @param read how the cached value is read; its timeout is not used
 */
public record FetchOptions(
    Duration ttl, List<String> tags, Duration timeout, boolean refresh, ReadOptions read) {
  /** The defaults. */
  public static final FetchOptions DEFAULTS =
      new FetchOptions(null, List.of(), null, false, ReadOptions.DEFAULTS);

  /** Copies the tags. */
  public FetchOptions {
    tags = List.copyOf(tags);
  }

  /** With a TTL. */
  public static FetchOptions withTtl(Duration ttl) {
    return DEFAULTS.ttl(ttl);
  }

  /** With a TTL. */
  public FetchOptions ttl(Duration ttl) {
    return new FetchOptions(ttl, tags, timeout, refresh, read);
  }

  /** With tags. */
  public FetchOptions tags(String... tags) {
    return new FetchOptions(ttl, List.of(tags), timeout, refresh, read);
  }

  /** With a longest wait for another process. */
  public FetchOptions timeout(Duration timeout) {
    return new FetchOptions(ttl, tags, timeout, refresh, read);
  }

  /** With a value that is computed in any case. */
  public FetchOptions refresh(boolean refresh) {
    return new FetchOptions(ttl, tags, timeout, refresh, read);
  }

  /** With options of the read. */
  public FetchOptions read(ReadOptions read) {
    return new FetchOptions(ttl, tags, timeout, refresh, read);
  }
}
