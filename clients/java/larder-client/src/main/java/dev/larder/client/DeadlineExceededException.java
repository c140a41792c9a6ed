package dev.larder.client;

/** The answer took longer than the deadline of the call. */
public class DeadlineExceededException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public DeadlineExceededException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
