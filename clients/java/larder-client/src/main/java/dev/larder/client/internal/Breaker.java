package dev.larder.client.internal;

import java.util.concurrent.locks.ReentrantLock;

/**
 * Spares calls the deadline while the cache is away: after 5 outages in a row, calls that fail open
 * are not sent for 500 to 750 ms. Then one tries after each such time, until one succeeds: also if
 * the one before has not ended, because it can wait for a computation of another process.
 */
final class Breaker {
  private static final int FAILURES = 5;
  private static final double OPEN_MS = 500;
  private static final double LONGEST_OPEN_MS = 750;

  /** Whether a call may be sent. */
  enum Permit {
    YES,
    /** The call tries the server for all others. It must report its end. */
    TRIAL,
    NO
  }

  private final ReentrantLock lock = new ReentrantLock();
  private volatile int failures;
  private double openUntil;

  Permit allow() {
    if (failures < FAILURES) {
      return Permit.YES;
    }
    lock.lock();
    try {
      if (failures < FAILURES) {
        return Permit.YES;
      }
      if (Times.now() < openUntil) {
        return Permit.NO;
      }
      open();
      return Permit.TRIAL;
    } finally {
      lock.unlock();
    }
  }

  /** The server has answered. */
  void success() {
    if (failures == 0) {
      return;
    }
    lock.lock();
    try {
      failures = 0;
    } finally {
      lock.unlock();
    }
  }

  /**
   * A call has ended with an outage. Those of calls that are sent while the breaker is open do not
   * put the next trial off.
   */
  void failure(boolean trial) {
    lock.lock();
    try {
      failures++;
      if (failures == FAILURES || trial) {
        open();
      }
    } finally {
      lock.unlock();
    }
  }

  /** A call has ended without an answer and without an outage: its caller has left. */
  void cancelled(boolean trial) {
    if (!trial) {
      return;
    }
    lock.lock();
    try {
      openUntil = Times.now();
    } finally {
      lock.unlock();
    }
  }

  private void open() {
    openUntil = Times.now() + Times.random(OPEN_MS, LONGEST_OPEN_MS);
  }
}
