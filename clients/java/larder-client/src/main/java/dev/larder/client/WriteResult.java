package dev.larder.client;

import java.time.Duration;

/** Result of a write. */
public sealed interface WriteResult {
  /** Whether the value is stored. */
  boolean stored();

  /** Whether the cache or its store was away, slow or full. */
  default boolean degraded() {
    return false;
  }

  /**
   * The value is stored.
   *
   * @param version version of the value, for conditions
   * @param ttl the TTL applied
   */
  record Stored(String version, Duration ttl) implements WriteResult {
    @Override
    public boolean stored() {
      return true;
    }
  }

  /**
   * The value is not stored.
   *
   * @param reason why
   * @param degraded whether the cache or its store was away, slow or full
   * @param error the error behind it; null if there is none
   */
  record NotStored(Reason reason, boolean degraded, Throwable error) implements WriteResult {
    @Override
    public boolean stored() {
      return false;
    }
  }

  /** Why a value is not stored. */
  enum Reason {
    /** The condition does not hold. */
    CONDITION_NOT_MET,
    /** The lease has passed to another caller. */
    LEASE_LOST,
    /** The entry was invalidated while the value was computed. */
    INVALIDATED,
    /** The entry was written while the value was computed. */
    SUPERSEDED,
    /** The store did not take it, the loader did not want it, or there was no lease for it. */
    NOT_STORED,
    /** Its TTL is zero or negative. */
    EXPIRED,
    /** The codec cannot send it. */
    NOT_ENCODABLE,
    /** The store was unreachable. */
    DEGRADED,
    /** The cache could not be reached. */
    UNAVAILABLE
  }
}
