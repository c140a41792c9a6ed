package dev.larder.client;

import java.time.Duration;

/**
 * Options of increments. The methods return a new object.
 *
 * @param initial value of a missing counter before the amount is added
 * @param ttl TTL of a counter that is created; null: the handle's, else the server's
 * @param ifPresent add only to a counter that is there
 * @param timeout time limit of the call, in place of the client's
 */
public record IncrementOptions(long initial, Duration ttl, boolean ifPresent, Duration timeout) {
  /** The defaults. */
  public static final IncrementOptions DEFAULTS = new IncrementOptions(0, null, false, null);

  /** With the value of a missing counter. */
  public IncrementOptions initial(long initial) {
    return new IncrementOptions(initial, ttl, ifPresent, timeout);
  }

  /** With the TTL of a new counter. */
  public IncrementOptions ttl(Duration ttl) {
    return new IncrementOptions(initial, ttl, ifPresent, timeout);
  }

  /** Only if there is a counter. */
  public IncrementOptions ifPresent(boolean ifPresent) {
    return new IncrementOptions(initial, ttl, ifPresent, timeout);
  }

  /** With a time limit. */
  public IncrementOptions timeout(Duration timeout) {
    return new IncrementOptions(initial, ttl, ifPresent, timeout);
  }
}
