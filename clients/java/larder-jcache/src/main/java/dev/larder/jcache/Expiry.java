package dev.larder.jcache;

import dev.larder.client.Ttl;
import java.util.concurrent.TimeUnit;
import javax.cache.expiry.Duration;
import javax.cache.expiry.EternalExpiryPolicy;
import javax.cache.expiry.ExpiryPolicy;
import javax.cache.expiry.ModifiedExpiryPolicy;
import javax.cache.expiry.TouchedExpiryPolicy;

/** The expiry policy of a cache, and its durations as TTLs. */
final class Expiry {
  private static final System.Logger LOGGER = System.getLogger("dev.larder.jcache");

  private final ExpiryPolicy policy;

  /** Whether a write has the same TTL for an entry that is there and for one that is not. */
  private final boolean uniform;

  private final boolean eternal;

  Expiry(ExpiryPolicy policy) {
    this.policy = policy;
    Class<?> type = policy.getClass();
    eternal = type == EternalExpiryPolicy.class;
    uniform = eternal || type == ModifiedExpiryPolicy.class || type == TouchedExpiryPolicy.class;
  }

  ExpiryPolicy policy() {
    return policy;
  }

  boolean isUniform() {
    return uniform;
  }

  /** A duration of the policy; null if it has none, or fails. */
  @FunctionalInterface
  private interface Question {
    Duration ask();
  }

  private static Duration ask(Question question, Duration other) {
    try {
      return question.ask();
    } catch (RuntimeException error) {
      // The specification wants a default then.
      LOGGER.log(System.Logger.Level.WARNING, "an expiry policy fails: " + error, error);
      return other;
    }
  }

  /** The TTL of a new entry; zero: it is not stored. */
  java.time.Duration creation() {
    Duration duration = ask(policy::getExpiryForCreation, Duration.ETERNAL);
    return ttl(duration == null ? Duration.ETERNAL : duration);
  }

  /** The TTL of an entry that is replaced; null: unchanged; zero: it ends. */
  java.time.Duration update() {
    // Its new value lives as long as the server permits, not only as long as the old one would.
    return eternal ? Ttl.FOREVER : ttl(ask(policy::getExpiryForUpdate, null));
  }

  /** The TTL of an entry that is read; null: unchanged; zero: it ends. */
  java.time.Duration access() {
    return eternal ? null : ttl(ask(policy::getExpiryForAccess, null));
  }

  private static java.time.Duration ttl(Duration duration) {
    if (duration == null) {
      return null;
    }
    if (duration.isEternal()) {
      return Ttl.FOREVER;
    }
    long ms = TimeUnit.MILLISECONDS.convert(duration.getDurationAmount(), duration.getTimeUnit());
    return ms == Long.MAX_VALUE ? Ttl.FOREVER : java.time.Duration.ofMillis(ms);
  }
}
