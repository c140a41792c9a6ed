package dev.larder.client;

/** Other writes came first again and again. */
public class AbortedException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public AbortedException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
