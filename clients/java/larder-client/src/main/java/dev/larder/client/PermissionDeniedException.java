package dev.larder.client;

/** The credentials do not permit the call. */
public class PermissionDeniedException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public PermissionDeniedException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
