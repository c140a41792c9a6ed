package dev.larder.client.internal;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.BiFunction;
import java.util.function.Function;

/** Operations that the futures of Java lack. */
final class Futures {
  private static final double NANOS_PER_MS = 1_000_000;

  private Futures() {}

  /** Continues with the value or with the error, which is unwrapped. */
  static <T, R> CompletableFuture<R> then(
      CompletableFuture<T> future, BiFunction<T, Throwable, CompletableFuture<R>> next) {
    return future
        .handle((value, error) -> next.apply(value, Errors.unwrap(error)))
        .thenCompose(Function.identity());
  }

  static <R> CompletableFuture<R> failed(Throwable error) {
    return CompletableFuture.failedFuture(error);
  }

  /** Passes the end of one future on to another. */
  static <R> void link(CompletableFuture<R> from, CompletableFuture<R> to) {
    from.whenComplete(
        (value, error) -> {
          if (error == null) {
            to.complete(value);
          } else {
            to.completeExceptionally(Errors.unwrap(error));
          }
        });
  }

  /** The result of a future, or the reason of the cancellation if that comes first. */
  static <R> CompletableFuture<R> until(Cancellation cancellation, CompletableFuture<R> work) {
    CompletableFuture<R> result = new CompletableFuture<>();
    Runnable forget =
        cancellation.onCancel(() -> result.completeExceptionally(cancellation.reason()));
    link(work, result);
    result.whenComplete((value, error) -> forget.run());
    return result;
  }

  /** Timers of a client, whose actions run on an executor. */
  static final class Timer {
    private final ScheduledThreadPoolExecutor executor;
    private final Executor workers;

    Timer(Executor workers) {
      this.workers = workers;
      executor =
          new ScheduledThreadPoolExecutor(1, action -> Workers.daemon(action, "larder-timer"));
      executor.setRemoveOnCancelPolicy(true);
      executor.setKeepAliveTime(10, TimeUnit.SECONDS);
      executor.allowCoreThreadTimeOut(true);
    }

    /** Runs an action later. After {@code close} it is not run. */
    ScheduledFuture<?> after(double ms, Runnable action) {
      try {
        long nanos = (long) Math.min(ms * NANOS_PER_MS, Long.MAX_VALUE / 2d);
        return executor.schedule(() -> hand(action), nanos, TimeUnit.NANOSECONDS);
      } catch (RejectedExecutionException closed) {
        return null;
      }
    }

    private void hand(Runnable action) {
      try {
        workers.execute(action);
      } catch (RejectedExecutionException full) {
        action.run();
      }
    }

    /** Waits. Fails with the reason of the cancellation. */
    CompletableFuture<Void> sleep(double ms, Cancellation cancellation) {
      CompletableFuture<Void> slept = new CompletableFuture<>();
      ScheduledFuture<?> timer = after(ms, () -> slept.complete(null));
      if (timer == null) {
        return failed(Errors.closed());
      }
      CompletableFuture<Void> result = until(cancellation, slept);
      result.whenComplete((value, error) -> timer.cancel(false));
      return result;
    }

    void close() {
      executor.shutdownNow();
    }
  }
}
