package dev.larder.client.internal;

import dev.larder.client.FailedPreconditionException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Function;

/** How the blocking and the asynchronous interface make calls. */
public final class Views {
  private Views() {}

  /** A future whose cancellation ends the call. */
  private static final class Cancellable<R> extends CompletableFuture<R> {
    private final Cancellation cancellation;

    Cancellable(Cancellation cancellation) {
      this.cancellation = cancellation;
    }

    @Override
    public boolean cancel(boolean mayInterruptIfRunning) {
      boolean cancelled = super.cancel(mayInterruptIfRunning);
      if (cancelled) {
        cancellation.cancel(Errors.cancelled("cancelled by the caller", null));
      }
      return cancelled;
    }

    @Override
    public <U> CompletableFuture<U> newIncompleteFuture() {
      return new CompletableFuture<>();
    }
  }

  /** Makes a call that its future can cancel. */
  public static <R> CompletableFuture<R> async(
      Call call, Function<Call, CompletableFuture<R>> operation) {
    Cancellable<R> result = new Cancellable<>(call.cancellation());
    try {
      Futures.link(operation.apply(call), result);
    } catch (FailedPreconditionException closed) {
      // The only such error without a call: that the client is closed.
      result.completeExceptionally(closed);
    }
    return result;
  }

  /** Makes a call and waits for it. */
  public static <R> R await(Call call, Function<Call, CompletableFuture<R>> operation) {
    // It runs nothing of the program, so that any thread can do it after this one has left.
    CallerThread thread = new CallerThread(Runnable::run);
    try {
      return thread.await(operation.apply(call.in(thread)));
    } catch (InterruptedException error) {
      throw interrupted(call, error);
    }
  }

  /** Makes a call whose loaders run in this thread. */
  public static <R> R awaitLoading(
      Operations<?> operations, Function<Call, CompletableFuture<R>> operation) {
    CallerThread thread = new CallerThread(operations.workers());
    Call call = operations.call(thread).in(action -> callback(thread, action));
    try {
      return thread.await(operation.apply(call));
    } catch (InterruptedException error) {
      throw interrupted(call, error);
    } catch (LoaderInterrupted error) {
      throw Errors.<RuntimeException>sneaky(error.getCause());
    }
  }

  private static void callback(CallerThread thread, Runnable action) {
    try {
      thread.execute(action);
    } catch (RejectedExecutionException full) {
      // The thread has left, and there is no other.
      action.run();
    }
  }

  private static RuntimeException interrupted(Call call, InterruptedException error) {
    Thread.currentThread().interrupt();
    RuntimeException reason = Errors.cancelled("interrupted while waiting", error);
    call.cancellation().cancel(reason);
    return reason;
  }
}
