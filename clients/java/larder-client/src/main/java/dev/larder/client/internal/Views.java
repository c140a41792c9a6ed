package dev.larder.client.internal;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
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
    Futures.link(operation.apply(call), result);
    return result;
  }

  /** Makes a call and waits for it. */
  public static <R> R await(Call call, Function<Call, CompletableFuture<R>> operation) {
    CompletableFuture<R> result = operation.apply(call);
    try {
      return result.get();
    } catch (InterruptedException error) {
      throw interrupted(call, error);
    } catch (ExecutionException error) {
      throw failed(Errors.unwrap(error));
    }
  }

  /** Makes a call whose loaders run in this thread. */
  public static <R> R awaitLoading(
      Operations<?> operations, Function<Call, CompletableFuture<R>> operation) {
    CallerThread thread = new CallerThread(operations.workers());
    Call call = operations.call(thread);
    try {
      return thread.await(operation.apply(call));
    } catch (InterruptedException error) {
      throw interrupted(call, error);
    } catch (LoaderInterrupted error) {
      throw Errors.<RuntimeException>sneaky(error.getCause());
    }
  }

  private static RuntimeException interrupted(Call call, InterruptedException error) {
    Thread.currentThread().interrupt();
    RuntimeException reason = Errors.cancelled("interrupted while waiting", error);
    call.cancellation().cancel(reason);
    return reason;
  }

  /** The error as it is, with the trace of the caller as one that is suppressed. */
  private static RuntimeException failed(Throwable error) {
    throw Errors.<RuntimeException>sneaky(error);
  }
}
