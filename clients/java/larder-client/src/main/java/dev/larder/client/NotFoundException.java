package dev.larder.client;

/** A namespace that the operator has not named, with strict namespaces. */
public class NotFoundException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public NotFoundException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
