package dev.larder.client.internal;

/** The release of this library. */
public final class Version {
  /** Such as {@code 0.1.0}. */
  public static final String TEXT = "0.1.0";

  private Version() {}
}
