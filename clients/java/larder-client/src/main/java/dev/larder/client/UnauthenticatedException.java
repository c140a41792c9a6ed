package dev.larder.client;

/** No or wrong credentials. */
public class UnauthenticatedException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public UnauthenticatedException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
