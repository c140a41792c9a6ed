package dev.larder.client;

import dev.larder.client.internal.Cancellation;
import java.time.Duration;
import java.util.List;

/** How a loader decides what happens to its value. Without calls, the options of the call count. */
public final class LoadContext {
  private final Cancellation cancellation;
  private volatile Duration ttl;
  private volatile List<String> tags = List.of();
  private volatile boolean store = true;

  /** For tests of loaders: it is never cancelled. */
  public LoadContext() {
    this(new Cancellation());
  }

  /** For the library. */
  public LoadContext(Cancellation cancellation) {
    this.cancellation = cancellation;
  }

  /** How long the value is fresh, in place of the call's TTL. Zero or negative: not stored. */
  public LoadContext ttl(Duration ttl) {
    this.ttl = ttl;
    return this;
  }

  /** Tags of the value, in addition to those of the call. */
  public LoadContext tags(String... tags) {
    this.tags = List.of(tags);
    return this;
  }

  /** The value is returned, and must not be cached. */
  public LoadContext doNotStore() {
    store = false;
    return this;
  }

  /** Whether no caller waits for the value any more. */
  public boolean isCancelled() {
    return cancellation.isCancelled();
  }

  /** Runs an action when no caller waits any more; at once, if that is so already. */
  public void onCancel(Runnable action) {
    cancellation.onCancel(action);
  }

  /** The TTL that the loader has chosen; null: none. */
  public Duration ttl() {
    return ttl;
  }

  /** The tags that the loader has chosen. */
  public List<String> tags() {
    return tags;
  }

  /** Whether the value may be cached. */
  public boolean store() {
    return store;
  }
}
