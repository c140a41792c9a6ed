package dev.larder.client;

/** Returns tokens. It is called again before a token expires, and when the server refuses one. */
@FunctionalInterface
public interface TokenProvider {
  /**
   * Returns a token that can be used now. It may wait; it is called by one thread at a time.
   *
   * @throws Exception if there is none: calls are then {@link UnavailableException}
   */
  Token token() throws Exception;
}
