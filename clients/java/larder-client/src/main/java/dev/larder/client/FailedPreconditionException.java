package dev.larder.client;

/** The call does not apply to the entry, or the client is closed. */
public class FailedPreconditionException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public FailedPreconditionException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
