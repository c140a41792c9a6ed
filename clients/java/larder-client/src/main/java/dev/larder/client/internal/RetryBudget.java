package dev.larder.client.internal;

import java.util.concurrent.atomic.AtomicInteger;

/** Bounds retries, so that they do not multiply the load of a server in trouble. */
final class RetryBudget {
  /** In tenths of a token. */
  private static final int FULL = 100;

  private static final int PER_FAILURE = 10;
  private static final int PER_SUCCESS = 1;

  private final AtomicInteger tokens = new AtomicInteger(FULL);

  void success() {
    if (tokens.get() < FULL) {
      tokens.updateAndGet(before -> Math.min(FULL, before + PER_SUCCESS));
    }
  }

  /** Counts a failure. Whether it may be followed by a retry. */
  boolean failure() {
    return tokens.updateAndGet(before -> Math.max(0, before - PER_FAILURE)) > FULL / 2;
  }
}
