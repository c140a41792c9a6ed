package dev.larder.client;

/** A value from the cache that the codec cannot read. */
public class DecodeException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** An error with its cause, which may be null. */
  public DecodeException(String message, Throwable cause) {
    super(message, cause);
  }
}
