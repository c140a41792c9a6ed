package dev.larder.testing;

import dev.larder.client.Key;
import java.time.Duration;
import java.util.function.Function;

/**
 * Settings of a namespace of the fake. The methods return a new object.
 *
 * @param ttl TTL of values without one: 30 min
 * @param maxTtl longest TTL: 7 d
 * @param stale how long a value is served past its TTL, while it is computed: not
 * @param staleIfError how long a value is served past its TTL, if its computation fails: not
 * @param leaseTtl how long a lease is held: 10 s
 * @param leaseWait how long callers wait for the lease of another: 5 s
 * @param backoff how long no lease is granted after a loader has failed: 1 s
 * @param maxValueBytes largest value: 1 MiB
 * @param origin computes values as the origin of the namespace; null: there is none
 */
public record FakeNamespace(
    Duration ttl,
    Duration maxTtl,
    Duration stale,
    Duration staleIfError,
    Duration leaseTtl,
    Duration leaseWait,
    Duration backoff,
    int maxValueBytes,
    Function<Key, Object> origin) {
  /** The defaults. */
  public static final FakeNamespace DEFAULTS =
      new FakeNamespace(
          Duration.ofMinutes(30),
          Duration.ofDays(7),
          Duration.ZERO,
          Duration.ZERO,
          Duration.ofSeconds(10),
          Duration.ofSeconds(5),
          Duration.ofSeconds(1),
          1024 * 1024,
          null);

  /** With another TTL. */
  public FakeNamespace ttl(Duration ttl) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }

  /** With another longest TTL. */
  public FakeNamespace maxTtl(Duration maxTtl) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }

  /** With values that are served past their TTL, if their computation fails. */
  public FakeNamespace staleIfError(Duration staleIfError) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }

  /** With values that are served past their TTL. */
  public FakeNamespace stale(Duration stale) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }

  /** With another time of leases. */
  public FakeNamespace leaseTtl(Duration leaseTtl) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }

  /** With another wait for leases. */
  public FakeNamespace leaseWait(Duration leaseWait) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }

  /** With another time after a failure. */
  public FakeNamespace backoff(Duration backoff) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }

  /** With another largest value. */
  public FakeNamespace maxValueBytes(int maxValueBytes) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }

  /** With an origin; null that it returns is the absence of a value. */
  public FakeNamespace origin(Function<Key, Object> origin) {
    return new FakeNamespace(
        ttl, maxTtl, stale, staleIfError, leaseTtl, leaseWait, backoff, maxValueBytes, origin);
  }
}
