package dev.larder.client;

/** The server or its store cannot be reached. */
public class UnavailableException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public UnavailableException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
