package dev.larder.client;

/** Where a value comes from. */
public enum Tier {
  /** The near cache of the server. */
  NEAR,
  /** The store of the server. */
  STORE,
  /** The origin that the server has for the namespace. */
  ORIGIN,
  /** The near cache of this process. */
  CLIENT,
  /** A loader of this process: of this call, or of one that it joined. */
  LOADER
}
