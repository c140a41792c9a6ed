package dev.larder.client;

import java.time.Duration;
import java.util.List;

/**
 * Options of writes. The methods return a new object. At most one condition can be set.
 *
 * @param ttl how long the value is fresh; null: the handle's, else the server's; zero: it is
 *     deleted
 * @param tags stored with the value, in addition to those of the handle
 * @param condition when to store; null: always
 * @param version the version of the condition VERSION
 * @param timeout time limit of the call, in place of the client's
 */
public record WriteOptions(
    Duration ttl, List<String> tags, Condition condition, String version, Duration timeout) {
  /** The defaults. */
  public static final WriteOptions DEFAULTS =
      new WriteOptions(null, List.of(), null, null, null);

  /** When to store. */
  public enum Condition {
    /** Only if there is no fresh entry. */
    ABSENT,
    /** Only if there is a fresh entry. */
    PRESENT,
    /** Only if the entry has a version. */
    VERSION
  }

  /** Copies the tags. */
  public WriteOptions {
    tags = List.copyOf(tags);
  }

  /** With a TTL. */
  public static WriteOptions withTtl(Duration ttl) {
    return DEFAULTS.ttl(ttl);
  }

  /** With a TTL. */
  public WriteOptions ttl(Duration ttl) {
    return new WriteOptions(ttl, tags, condition, version, timeout);
  }

  /** With tags. */
  public WriteOptions tags(String... tags) {
    return new WriteOptions(ttl, List.of(tags), condition, version, timeout);
  }

  /** Only if there is no fresh entry. */
  public WriteOptions ifAbsent() {
    return when(Condition.ABSENT, null);
  }

  /** Only if there is a fresh entry. */
  public WriteOptions ifPresent() {
    return when(Condition.PRESENT, null);
  }

  /** Only if the entry has this version. */
  public WriteOptions ifVersion(String version) {
    if (version == null || version.isEmpty()) {
      throw new IllegalArgumentException("ifVersion: must not be empty");
    }
    return when(Condition.VERSION, version);
  }

  private WriteOptions when(Condition next, String version) {
    if (condition != null) {
      throw new IllegalArgumentException(
          "ifAbsent, ifPresent, ifVersion: at most one can be set");
    }
    return new WriteOptions(ttl, tags, next, version, timeout);
  }

  /** With a time limit. */
  public WriteOptions timeout(Duration timeout) {
    return new WriteOptions(ttl, tags, condition, version, timeout);
  }
}
