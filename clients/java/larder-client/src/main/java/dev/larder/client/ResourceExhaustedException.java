package dev.larder.client;

/** A limit: the size of a value, a quota, or an overloaded server. */
public class ResourceExhaustedException extends LarderException {
  private static final long serialVersionUID = 1L;

  /** An error with its facts. */
  public ResourceExhaustedException(Code code, String message, ErrorFacts facts) {
    super(code, message, facts);
  }
}
