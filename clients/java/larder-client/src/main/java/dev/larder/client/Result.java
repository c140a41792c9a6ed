package dev.larder.client;

import java.time.Duration;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Optional;

/**
 * Result of a read. A miss is a result, not an error.
 *
 * @param <V> type of the value
 */
public sealed interface Result<V> {
  /** Facts of the read. */
  Facts facts();

  /** The value; null unless {@link Hit} or {@link Stale}. A value can be null, too. */
  default V value() {
    return null;
  }

  /** HIT, STALE, NEGATIVE or MISS. */
  Outcome outcome();

  /** Whether there is a value, which can be null: the result is a Hit or a Stale. */
  default boolean found() {
    return outcome() == Outcome.HIT || outcome() == Outcome.STALE;
  }

  /** The value, or another one if there is none. */
  default V orElse(V other) {
    return found() ? value() : other;
  }

  /**
   * The value.
   *
   * @throws NoSuchElementException if there is none
   */
  default V orElseThrow() {
    if (found()) {
      return value();
    }
    Throwable cause = error().orElse(null);
    throw new NoSuchElementException("no value: the read is a " + outcome(), cause);
  }

  /** Version of the value, for conditions; empty if it is not in the store. */
  default String version() {
    return facts().version();
  }

  /** Time since the value was written. */
  default Optional<Duration> age() {
    return Optional.ofNullable(facts().age());
  }

  /** Time until the value becomes stale. */
  default Optional<Duration> ttlRemaining() {
    return Optional.ofNullable(facts().ttlRemaining());
  }

  /** Tags of the entry. */
  default List<String> tags() {
    return facts().tags();
  }

  /** Where the value comes from. */
  default Optional<Tier> tier() {
    return Optional.ofNullable(facts().tier());
  }

  /** Whether the cache or its store was away, slow or full. */
  default boolean degraded() {
    return facts().degraded();
  }

  /** Why there is no value, or no fresh one. */
  default Optional<Throwable> error() {
    return Optional.ofNullable(facts().error());
  }

  /** Result of storing a value that a loader computed. */
  default Optional<WriteResult> stored() {
    return Optional.ofNullable(facts().stored());
  }

  /** Whether the value was computed for another call of this process that this one joined. */
  default boolean joined() {
    return facts().joined();
  }

  /**
   * The facts that every result has. Absent facts are null.
   *
   * @param version version of the value; empty if it is not in the store
   * @param age time since the value was written
   * @param ttlRemaining time until the value becomes stale
   * @param tags tags of the entry
   * @param tier where the value comes from
   * @param degraded whether the cache or its store was away, slow or full
   * @param error why there is no value, or no fresh one
   * @param stored result of storing a computed value
   * @param joined whether another call of this process computed the value
   */
  record Facts(
      String version,
      Duration age,
      Duration ttlRemaining,
      List<String> tags,
      Tier tier,
      boolean degraded,
      Throwable error,
      WriteResult stored,
      boolean joined) {
    /** The facts of a read that found nothing. */
    public static Facts none(boolean degraded, Throwable error) {
      return new Facts("", null, null, List.of(), null, degraded, error, null, false);
    }

    /** The same facts with an error. */
    public Facts withError(Throwable error) {
      return new Facts(
          version, age, ttlRemaining, tags, tier, degraded, error, stored, joined);
    }

    /** The same facts for a call that joined. */
    public Facts asJoined() {
      return new Facts(version, age, ttlRemaining, tags, tier, degraded, error, stored, true);
    }
  }

  /** A fresh value. */
  record Hit<V>(V value, Facts facts) implements Result<V> {
    @Override
    public Outcome outcome() {
      return Outcome.HIT;
    }
  }

  /** A value past its TTL. */
  record Stale<V>(V value, Facts facts) implements Result<V> {
    @Override
    public Outcome outcome() {
      return Outcome.STALE;
    }
  }

  /** The cached absence of a value. */
  record Negative<V>(Facts facts) implements Result<V> {
    @Override
    public Outcome outcome() {
      return Outcome.NEGATIVE;
    }
  }

  /** No value. */
  record Miss<V>(Facts facts) implements Result<V> {
    @Override
    public Outcome outcome() {
      return Outcome.MISS;
    }
  }
}
