package dev.larder.client;

import java.time.Duration;

/**
 * Options of lists of keys. The methods return a new object.
 *
 * @param glob only keys that match: {@code *}, {@code ?}, {@code [a-z]}; empty: all
 * @param pageSize keys per call, at most 1,000; 0: the default of the server, 100
 * @param timeout time limit of a call; null: 5 s
 */
public record ListOptions(String glob, int pageSize, Duration timeout) {
  /** The defaults. */
  public static final ListOptions DEFAULTS = new ListOptions("", 0, null);

  /** Checks the page size. */
  public ListOptions {
    if (pageSize < 0) {
      throw new IllegalArgumentException("pageSize: must not be negative");
    }
  }

  /** With a pattern. */
  public ListOptions glob(String glob) {
    return new ListOptions(glob, pageSize, timeout);
  }

  /** With a page size. */
  public ListOptions pageSize(int pageSize) {
    return new ListOptions(glob, pageSize, timeout);
  }

  /** With a time limit. */
  public ListOptions timeout(Duration timeout) {
    return new ListOptions(glob, pageSize, timeout);
  }
}
