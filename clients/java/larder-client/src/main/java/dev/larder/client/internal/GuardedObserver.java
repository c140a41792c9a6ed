package dev.larder.client.internal;

import dev.larder.client.CallObserver;
import io.grpc.Metadata;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;

/** An observer of the program. One that throws does not change calls: its first error is logged. */
final class GuardedObserver implements CallObserver {
  private final CallObserver observer;
  private final System.Logger logger;
  private final AtomicBoolean logged = new AtomicBoolean();

  GuardedObserver(CallObserver observer, System.Logger logger) {
    this.observer = observer;
    this.logger = logger;
  }

  private <R> R guarded(Supplier<R> action, R otherwise) {
    try {
      return action.get();
    } catch (Throwable error) {
      if (logger != null && logged.compareAndSet(false, true)) {
        logger.log(
            System.Logger.Level.WARNING, "the observer failed; calls go on without it", error);
      }
      return otherwise;
    }
  }

  private void guarded(Runnable action) {
    guarded(
        () -> {
          action.run();
          return null;
        },
        null);
  }

  @Override
  public Object current() {
    return guarded(observer::current, null);
  }

  @Override
  public Observed start(String method, String namespace, Object parent) {
    Observed observed = guarded(() -> observer.start(method, namespace, parent), null);
    return observed == null ? null : new Guarded(observed);
  }

  @Override
  public void counters(Supplier<Map<String, Map<String, Long>>> counters) {
    guarded(() -> observer.counters(counters));
  }

  @Override
  public void close() {
    guarded(observer::close);
  }

  private final class Guarded implements Observed {
    private final Observed observed;

    Guarded(Observed observed) {
      this.observed = observed;
    }

    @Override
    public Map<String, String> headers() {
      return guarded(() -> checked(observed.headers()), Map.of());
    }

    /** Headers that cannot be sent are an error of the observer, not of the call. */
    private static Map<String, String> checked(Map<String, String> headers) {
      Map<String, String> copy = Map.copyOf(headers);
      copy.keySet().forEach(name -> Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
      return copy;
    }

    @Override
    public void end(Throwable error) {
      guarded(() -> observed.end(error));
    }
  }
}
