package dev.larder.client;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/** An error of a call. Programs match the code and the reason, not the message. */
public class LarderException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final Code code;
  private final transient ErrorFacts facts;

  /** An error with its facts. */
  public LarderException(Code code, String message, ErrorFacts facts) {
    super(message, facts.cause());
    this.code = code;
    this.facts = facts;
  }

  /** Code of the status. */
  public Code code() {
    return code;
  }

  /** Stable reason, such as {@code VALUE_TOO_LARGE}; empty if there is none. */
  public String reason() {
    return facts == null ? "" : facts.reason();
  }

  /** Time after which a retry may succeed. */
  public Optional<Duration> retryAfter() {
    return facts == null ? Optional.empty() : Optional.ofNullable(facts.retryAfter());
  }

  /** Metadata of the reason, such as the name of a limit. */
  public Map<String, String> metadata() {
    return facts == null ? Map.of() : facts.metadata();
  }

  /** Milliseconds before a retry, by the server's choice; negative: no retry; null: unset. */
  public Long pushback() {
    return facts == null ? null : facts.pushback();
  }

  /** Codes of gRPC. */
  public enum Code {
    /** The call was cancelled. */
    CANCELLED,
    /** An error without a code of its own. */
    UNKNOWN,
    /** An argument that the server does not accept. */
    INVALID_ARGUMENT,
    /** The answer took longer than the deadline. */
    DEADLINE_EXCEEDED,
    /** A namespace that the operator has not named. */
    NOT_FOUND,
    /** There is one already. */
    ALREADY_EXISTS,
    /** The credentials do not permit the call. */
    PERMISSION_DENIED,
    /** A limit. */
    RESOURCE_EXHAUSTED,
    /** The call does not apply to the entry. */
    FAILED_PRECONDITION,
    /** Other writes came first again and again. */
    ABORTED,
    /** An argument out of its range. */
    OUT_OF_RANGE,
    /** The server does not have the call. */
    UNIMPLEMENTED,
    /** A bug. */
    INTERNAL,
    /** The server cannot be reached. */
    UNAVAILABLE,
    /** Data is lost. */
    DATA_LOSS,
    /** No or wrong credentials. */
    UNAUTHENTICATED
  }
}
