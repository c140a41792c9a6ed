package dev.larder.client.internal;

import io.grpc.MethodDescriptor;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** Carries calls to a server. Errors are {@code LarderException}s, or reasons of cancellations. */
public interface Transport {
  /** Whether a call with a token that the server refuses can be repeated with another. */
  boolean renewsToken();

  /** Makes one attempt of a call with one answer. */
  <Q, R> CompletableFuture<R> unary(MethodDescriptor<Q, R> method, Q request, Attempt attempt);

  /**
   * Makes one attempt of a call with a stream of answers. One message is asked for at first, and
   * each further one by {@link Flow#next}.
   */
  <Q, R> Flow stream(
      MethodDescriptor<Q, R> method, Q request, Attempt attempt, Sink<R> sink);

  /** The schema version of the program, for a transport that the client has not made itself. */
  default void schemaVersion(String version) {}

  /** Connects. Fails with UNAVAILABLE if that takes longer. */
  CompletableFuture<Void> connect(double timeoutMs);

  /** Ends the connections. */
  void close();

  /**
   * How one attempt is made.
   *
   * @param timeoutMs milliseconds for the answer; infinite: no limit
   * @param cancellation ends the attempt
   * @param headers headers, such as the trace context
   */
  record Attempt(double timeoutMs, Cancellation cancellation, Map<String, String> headers) {}

  /** Receives a stream. The calls come one after another. */
  interface Sink<R> {
    /** A message. */
    void message(R message);

    /** The end; {@code error} is null if it is a good one. */
    void end(Throwable error);
  }

  /** A running stream. */
  interface Flow {
    /** Asks for one more message, so that a slow reader holds the server back. */
    void next();
  }
}
