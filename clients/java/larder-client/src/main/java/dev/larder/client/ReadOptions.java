package dev.larder.client;

import java.time.Duration;

/**
 * Options of reads. The methods return a new object; null is the default of each.
 *
 * @param maxStale longest time past the TTL for which a value may be stale; zero: none
 * @param consistent ask the store, so that the read sees every write acknowledged before
 * @param touch sliding expiration: a hit is fresh for at least this long from now
 * @param timeout time limit of the call, in place of the client's
 */
public record ReadOptions(
    Duration maxStale, boolean consistent, Duration touch, Duration timeout) {
  /** The defaults. */
  public static final ReadOptions DEFAULTS = new ReadOptions(null, false, null, null);

  /** With a longest time past the TTL. */
  public ReadOptions maxStale(Duration maxStale) {
    return new ReadOptions(maxStale, consistent, touch, timeout);
  }

  /** With an answer of the store. */
  public ReadOptions consistent(boolean consistent) {
    return new ReadOptions(maxStale, consistent, touch, timeout);
  }

  /** With a sliding expiration. */
  public ReadOptions touch(Duration touch) {
    return new ReadOptions(maxStale, consistent, touch, timeout);
  }

  /** With a time limit. */
  public ReadOptions timeout(Duration timeout) {
    return new ReadOptions(maxStale, consistent, touch, timeout);
  }
}
