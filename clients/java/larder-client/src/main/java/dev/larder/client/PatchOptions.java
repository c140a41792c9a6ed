package dev.larder.client;

import java.time.Duration;

/**
 * Options of patches. The methods return a new object.
 *
 * @param ifVersion change only if the entry has this version; null: always
 * @param ttl how long the changed value is fresh; null: the handle's, else the server's
 * @param keepTtl the changed value expires when it would have expired without the patch
 * @param timeout time limit of the call, in place of the client's
 */
public record PatchOptions(String ifVersion, Duration ttl, boolean keepTtl, Duration timeout) {
  /** The defaults. */
  public static final PatchOptions DEFAULTS = new PatchOptions(null, null, false, null);

  /** Only if the entry has this version. */
  public PatchOptions ifVersion(String ifVersion) {
    return new PatchOptions(ifVersion, ttl, keepTtl, timeout);
  }

  /** With a TTL. */
  public PatchOptions ttl(Duration ttl) {
    return new PatchOptions(ifVersion, ttl, keepTtl, timeout);
  }

  /** With the expiry that the value has. */
  public PatchOptions keepTtl(boolean keepTtl) {
    return new PatchOptions(ifVersion, ttl, keepTtl, timeout);
  }

  /** With a time limit. */
  public PatchOptions timeout(Duration timeout) {
    return new PatchOptions(ifVersion, ttl, keepTtl, timeout);
  }
}
