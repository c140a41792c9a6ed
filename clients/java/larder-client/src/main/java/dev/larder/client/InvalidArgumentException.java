package dev.larder.client;

/** An argument that the server does not accept. */
public class InvalidArgumentException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public InvalidArgumentException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
