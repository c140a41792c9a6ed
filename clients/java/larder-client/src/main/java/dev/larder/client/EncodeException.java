package dev.larder.client;

/** A value that cannot be sent. */
public class EncodeException extends IllegalArgumentException {
  private static final long serialVersionUID = 1L;

  private final String path;

  /**
   * An error at a place.
   *
   * @param path the place in the value, such as {@code value.total}
   */
  public EncodeException(String message, String path) {
    super(path.isEmpty() ? message : path + ": " + message);
    this.path = path;
  }

  /** The place in the value; empty if there is none. */
  public String path() {
    return path;
  }
}
