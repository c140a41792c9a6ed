package dev.larder.client;

/** The behaviour of calls at an outage: the cache is away, slow or full. */
public enum OnError {
  /** Reads and writes go on without the cache; deletions, invalidations and increments throw. */
  OPEN,
  /** All calls throw. */
  RAISE;

  /**
   * The choice of that name, such as {@code open}.
   *
   * @throws IllegalArgumentException if there is none
   */
  public static OnError of(String name) {
    return Preset.named(OnError.class, "on_error", name);
  }
}
