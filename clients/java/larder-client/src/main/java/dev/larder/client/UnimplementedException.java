package dev.larder.client;

/** The server does not have the call. */
public class UnimplementedException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public UnimplementedException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
