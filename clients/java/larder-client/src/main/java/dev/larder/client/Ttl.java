package dev.larder.client;

import java.time.Duration;
import java.time.temporal.ChronoUnit;

/** Times to live with a meaning of their own. */
public final class Ttl {
  /** The longest TTL that the server permits. */
  public static final Duration FOREVER = ChronoUnit.FOREVER.getDuration();

  private Ttl() {}
}
