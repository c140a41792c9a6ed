package dev.larder.client;

/** Change of a JSON value. */
public sealed interface Patch {
  /** The changes as a value: a map or an object, or operations. */
  Object change();

  /** A merge patch (RFC 7396): members replace those of the value, and null removes them. */
  static Patch merge(Object members) {
    return new Merge(members);
  }

  /** Operations (RFC 6902), such as a list of maps with {@code op}, {@code path}, {@code value}. */
  static Patch operations(Object operations) {
    return new Operations(operations);
  }

  /** A merge patch. */
  record Merge(Object change) implements Patch {}

  /** Operations. */
  record Operations(Object change) implements Patch {}
}
