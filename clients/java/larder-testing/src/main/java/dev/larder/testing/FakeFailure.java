package dev.larder.testing;

import dev.larder.client.LarderException.Code;
import java.time.Duration;
import java.util.Set;

/**
 * A failure of the fake to switch on. The methods return a new object.
 *
 * @param code code of the error
 * @param reason reason of the error
 * @param methods calls that fail, such as {@code Get}; empty: all
 * @param times how many calls fail
 * @param after time before the failure; a longer one than the deadline ends with that
 */
public record FakeFailure(
    Code code, String reason, Set<String> methods, long times, Duration after) {
  /** All calls fail as if the server was not there. */
  public static final FakeFailure UNAVAILABLE =
      new FakeFailure(Code.UNAVAILABLE, "", Set.of(), Long.MAX_VALUE, Duration.ZERO);

  /** With another code and reason. */
  public FakeFailure error(Code code, String reason) {
    return new FakeFailure(code, reason, methods, times, after);
  }

  /** Only these calls. */
  public FakeFailure methods(String... methods) {
    return new FakeFailure(code, reason, Set.of(methods), times, after);
  }

  /** Only so many calls. */
  public FakeFailure times(long times) {
    return new FakeFailure(code, reason, methods, times, after);
  }

  /** After a time. */
  public FakeFailure after(Duration after) {
    return new FakeFailure(code, reason, methods, times, after);
  }
}
