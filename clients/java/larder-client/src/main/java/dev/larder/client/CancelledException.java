package dev.larder.client;

/** The caller was interrupted, has cancelled the call, or has closed the client. */
public class CancelledException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public CancelledException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
