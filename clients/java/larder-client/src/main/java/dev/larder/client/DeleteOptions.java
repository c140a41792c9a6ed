package dev.larder.client;

import java.time.Duration;

/**
 * Options of deletions. The methods return a new object.
 *
 * @param ifVersion delete only if the entry has this version; null: always
 * @param holdOff rejects fills of the entry for this long; null: not
 * @param returnValue return the entry that is removed
 * @param timeout time limit of the call, in place of the client's
 */
public record DeleteOptions(
    String ifVersion, Duration holdOff, boolean returnValue, Duration timeout) {
  /** The defaults. */
  public static final DeleteOptions DEFAULTS = new DeleteOptions(null, null, false, null);

  /** Only if the entry has this version. */
  public DeleteOptions ifVersion(String ifVersion) {
    return new DeleteOptions(ifVersion, holdOff, returnValue, timeout);
  }

  /** With a time in which fills are rejected. */
  public DeleteOptions holdOff(Duration holdOff) {
    return new DeleteOptions(ifVersion, holdOff, returnValue, timeout);
  }

  /** With the entry that is removed. */
  public DeleteOptions returnValue(boolean returnValue) {
    return new DeleteOptions(ifVersion, holdOff, returnValue, timeout);
  }

  /** With a time limit. */
  public DeleteOptions timeout(Duration timeout) {
    return new DeleteOptions(ifVersion, holdOff, returnValue, timeout);
  }
}
