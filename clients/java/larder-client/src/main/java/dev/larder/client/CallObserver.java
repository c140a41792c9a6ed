package dev.larder.client;

import java.util.Map;
import java.util.function.Supplier;

/**
 * Observes calls, for tracing and metrics. Implementations are used by several threads. One that
 * throws does not change the calls: its first error is logged.
 */
public interface CallObserver {
  /** The context of the caller, such as its span. It is passed to {@link #start}. */
  default Object current() {
    return null;
  }

  /** A call begins. {@code method} is such as {@code Get}. Null: it is not observed. */
  Observed start(String method, String namespace, Object parent);

  /** Gives access to the counters by namespace; called once, when the client is made. */
  default void counters(Supplier<Map<String, Map<String, Long>>> counters) {}

  /** The client is closed. */
  default void close() {}

  /** One call. */
  interface Observed {
    /** Headers to send, such as {@code traceparent}. */
    default Map<String, String> headers() {
      return Map.of();
    }

    /** The call has ended; {@code error} is null if it has succeeded. */
    void end(Throwable error);
  }
}
