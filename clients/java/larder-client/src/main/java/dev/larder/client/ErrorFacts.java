package dev.larder.client;

import java.time.Duration;
import java.util.Map;

/**
 * Facts of a {@link LarderException}.
 *
 * @param reason stable reason; empty if the server gave none
 * @param retryAfter time after which a retry may succeed; null if there is none
 * @param pushback milliseconds before a retry, by the server's choice; null if there are none
 * @param metadata metadata of the reason
 * @param cause what was thrown below; null if nothing was
 */
public record ErrorFacts(
    String reason,
    Duration retryAfter,
    Long pushback,
    Map<String, String> metadata,
    Throwable cause) {
  /** Facts with a reason only. */
  public static ErrorFacts of(String reason) {
    return new ErrorFacts(reason, null, null, Map.of(), null);
  }

  /** The same facts with a cause. */
  public ErrorFacts withCause(Throwable cause) {
    return new ErrorFacts(reason, retryAfter, pushback, metadata, cause);
  }

  /** The same facts with a time after which a retry may succeed. */
  public ErrorFacts withRetryAfter(Duration retryAfter) {
    return new ErrorFacts(reason, retryAfter, pushback, metadata, cause);
  }
}
