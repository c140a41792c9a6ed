package dev.larder.client;

import java.time.Duration;

/**
 * A token with its lifetime.
 *
 * @param text printable ASCII without white space
 * @param expiresIn time for which it can be used
 */
public record Token(String text, Duration expiresIn) {
  private static final Duration DEFAULT_LIFETIME = Duration.ofMinutes(1);

  /** Without the text, which is a secret. */
  @Override
  public String toString() {
    return "Token[expiresIn=" + expiresIn + "]";
  }

  /** A token that is asked for again after a minute. */
  public static Token of(String text) {
    return new Token(text, DEFAULT_LIFETIME);
  }
}
