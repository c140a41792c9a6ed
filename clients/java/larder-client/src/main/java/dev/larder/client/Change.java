package dev.larder.client;

import java.util.List;

/** A change in a namespace that is watched. */
public sealed interface Change {
  /**
   * All changes arrive from now on.
   *
   * @param resumed whether none was missed since the last event
   */
  record Ready(boolean resumed) implements Change {}

  /** All entries are invalid. */
  record NamespaceInvalidated() implements Change {}

  /** The entries with any of these tags are invalid. */
  record TagsInvalidated(List<String> tags) implements Change {}

  /** The entries whose key matches are invalid. */
  record PatternInvalidated(String glob) implements Change {}

  /** Entries were written or removed. */
  record KeysChanged(List<ListedKey> keys) implements Change {}

  /** Changes may be missing until the next Ready: what is derived from entries is invalid. */
  record Reset(Cause cause) implements Change {}

  /** Why changes may be missing. */
  enum Cause {
    /** The stream broke, and could not be continued. */
    DISCONNECTED,
    /** The store did not announce changes for a while. */
    FEED_LOST,
    /** The store cannot be reached. */
    STORE_UNAVAILABLE,
    /** The store was emptied. */
    STORE_FLUSHED,
    /** This process did not read the stream fast enough. */
    SLOW_READER,
    /** The changes that were missed cannot be delivered completely. */
    NOT_RESUMABLE,
    /** The server is stopping. */
    SHUTTING_DOWN,
    /** A reason, or an event, of a later release. */
    UNKNOWN
  }
}
