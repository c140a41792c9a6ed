package dev.larder.tests.conformance;

import dev.larder.client.LoadContext;
import java.util.List;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** The loaders of a case, which are counted and can be held back by a gate. */
final class Loaders {
  private Loaders() {}

  /** The failure of a loader on purpose. */
  static final class LoaderFailed extends Exception {
    private static final long serialVersionUID = 1L;

    LoaderFailed(String message) {
      super(message);
    }
  }

  /** A loader of a case. */
  static final class Counted {
    final AtomicInteger begun = new AtomicInteger();
    final List<List<?>> keys = new CopyOnWriteArrayList<>();
    private final Map<String, Object> spec;
    private final CountDownLatch gate;

    Counted(Map<String, Object> spec, CountDownLatch gate) {
      this.spec = spec;
      this.gate = gate;
    }

    Object one(LoadContext context) throws LoaderFailed, InterruptedException {
      begin();
      if (spec.containsKey("ttl")) {
        context.ttl(Calls.ttl(spec.get("ttl")));
      }
      if (spec.containsKey("tags")) {
        context.tags(Grammar.list(spec.get("tags")).toArray(String[]::new));
      }
      if (Boolean.FALSE.equals(spec.get("store"))) {
        context.doNotStore();
      }
      return Grammar.expand(spec.get("value"), Map.of());
    }

    Map<String, Object> many(List<String> wanted, LoadContext context)
        throws LoaderFailed, InterruptedException {
      keys.add(List.copyOf(wanted));
      begin();
      Map<String, Object> values = Grammar.map(spec.get("by_key"));
      Map<String, Object> found = new LinkedHashMap<>();
      for (String key : wanted) {
        if (values.containsKey(key)) {
          found.put(key, values.get(key));
        }
      }
      return found;
    }

    private void begin() throws LoaderFailed, InterruptedException {
      begun.incrementAndGet();
      Double delay = Grammar.milliseconds(spec.get("delay"));
      if (delay != null) {
        Thread.sleep(delay.longValue());
      }
      if (gate != null && !gate.await(20, TimeUnit.SECONDS)) {
        throw new IllegalStateException("the gate was not opened");
      }
      if (spec.containsKey("fail")) {
        throw new LoaderFailed((String) spec.get("fail"));
      }
    }
  }

  /** A call that may wait, in a thread of its own. */
  @FunctionalInterface
  interface Waiting<R> {
    R call() throws Exception;
  }

  /** Runs a call in another thread. */
  static <R> CompletableFuture<R> beside(Waiting<R> call) {
    CompletableFuture<R> done = new CompletableFuture<>();
    Thread thread =
        new Thread(
            () -> {
              try {
                done.complete(call.call());
              } catch (Throwable error) {
                done.completeExceptionally(error);
              }
            },
            "loader");
    thread.setDaemon(true);
    thread.start();
    return done;
  }
}
