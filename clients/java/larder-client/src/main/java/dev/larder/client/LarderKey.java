package dev.larder.client;

/** An object that has a canonical form of its own in the keys of calls. */
public interface LarderKey {
  /** Returns a value that has a canonical form, such as an id. */
  Object toLarderKey();
}
