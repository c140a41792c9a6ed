package dev.larder.client.internal;

import dev.larder.client.AbortedException;
import dev.larder.client.CancelledException;
import dev.larder.client.DeadlineExceededException;
import dev.larder.client.ErrorFacts;
import dev.larder.client.FailedPreconditionException;
import dev.larder.client.InvalidArgumentException;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.NotFoundException;
import dev.larder.client.PermissionDeniedException;
import dev.larder.client.ResourceExhaustedException;
import dev.larder.client.UnauthenticatedException;
import dev.larder.client.UnavailableException;
import dev.larder.client.UnimplementedException;
import java.util.EnumSet;
import java.util.Set;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/** Errors of calls, and which of them are outages. */
public final class Errors {
  private static final Set<Code> OUTAGES =
      EnumSet.of(
          Code.UNAVAILABLE,
          Code.DEADLINE_EXCEEDED,
          Code.RESOURCE_EXHAUSTED,
          Code.ABORTED,
          Code.INTERNAL,
          Code.UNKNOWN,
          Code.CANCELLED);

  /** Reasons that are mistakes, whatever their code. */
  private static final Set<String> MISTAKES =
      Set.of("VALUE_TOO_LARGE", "MESSAGE_TOO_LARGE", "CLIENT_CLOSED", "CALLER_CANCELLED");

  private Errors() {}

  /** An error of the class that belongs to the code. */
  public static LarderException of(Code code, String message, ErrorFacts facts) {
    return switch (code) {
      case INVALID_ARGUMENT, OUT_OF_RANGE -> new InvalidArgumentException(code, message, facts);
      case NOT_FOUND -> new NotFoundException(code, message, facts);
      case FAILED_PRECONDITION -> new FailedPreconditionException(code, message, facts);
      case UNAUTHENTICATED -> new UnauthenticatedException(code, message, facts);
      case PERMISSION_DENIED -> new PermissionDeniedException(code, message, facts);
      case RESOURCE_EXHAUSTED -> new ResourceExhaustedException(code, message, facts);
      case UNAVAILABLE -> new UnavailableException(code, message, facts);
      case DEADLINE_EXCEEDED -> new DeadlineExceededException(code, message, facts);
      case ABORTED -> new AbortedException(code, message, facts);
      case UNIMPLEMENTED -> new UnimplementedException(code, message, facts);
      case CANCELLED -> new CancelledException(code, message, facts);
      default -> new LarderException(code, message, facts);
    };
  }

  /** The error of a call whose caller has left. */
  public static LarderException cancelled(String message, Throwable cause) {
    ErrorFacts facts = ErrorFacts.of("CALLER_CANCELLED").withCause(cause);
    return of(Code.CANCELLED, message, facts);
  }

  /** The error of what a closed client still ran. */
  public static LarderException closed() {
    return of(Code.CANCELLED, "the client is closed", ErrorFacts.of("CLIENT_CLOSED"));
  }

  /** Whether an error says that the cache is away, slow or full. */
  public static boolean isOutage(Throwable error) {
    return error instanceof LarderException failure
        && OUTAGES.contains(failure.code())
        && !MISTAKES.contains(failure.reason());
  }

  /** The error without what futures put around it. */
  public static Throwable unwrap(Throwable error) {
    Throwable inner = error;
    while ((inner instanceof CompletionException || inner instanceof ExecutionException)
        && inner.getCause() != null) {
      inner = inner.getCause();
    }
    return inner;
  }

  /** Throws any error as it is. */
  @SuppressWarnings("unchecked")
  public static <X extends Throwable> RuntimeException sneaky(Throwable error) throws X {
    throw (X) error;
  }
}
