package dev.larder.client.internal;

import dev.larder.client.AsyncLoader;
import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException.Code;
import dev.larder.client.LoadContext;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.ReentrantLock;

/** A loader of either kind. */
@FunctionalInterface
public interface Load<V> {
  /** Begins the computation; a loader that blocks runs on the executor. */
  CompletableFuture<V> begin(LoadContext context, Executor executor);

  /** A loader that may wait, of the calling thread. */
  @FunctionalInterface
  interface Blocking<V> {
    /** Computes the value. */
    V load(LoadContext context) throws Exception;
  }

  /** A loader that may wait. */
  static <V> Load<V> blocking(Blocking<V> loader) {
    Thread owner = Thread.currentThread();
    return (context, executor) -> {
      Work<V> work = new Work<>(loader, context, owner, new CompletableFuture<>());
      try {
        executor.execute(work);
      } catch (RejectedExecutionException full) {
        work.refuse(full);
      }
      return work.done();
    };
  }

  /** A loader that runs in a thread. */
  record Work<V>(
      Blocking<V> loader, LoadContext context, Thread owner, CompletableFuture<V> done)
      implements CallerThread.Refusable {
    @Override
    public void run() {
      Load.run(loader, context, owner, done);
    }

    @Override
    public void refuse(RejectedExecutionException full) {
      done.completeExceptionally(
          Errors.of(
              Code.RESOURCE_EXHAUSTED,
              "no thread for the loader",
              ErrorFacts.of("NO_THREAD").withCause(full)));
    }
  }

  private static <V> void run(
      Blocking<V> loader, LoadContext context, Thread owner, CompletableFuture<V> done) {
    boolean owned = Thread.currentThread() == owner;
    Interruption interruption = owned ? null : new Interruption(context);
    try {
      done.complete(loader.load(context));
    } catch (Throwable error) {
      // Errors are passed on to the callers, too, as any exception.
      boolean interrupted =
          owned
              && (error instanceof InterruptedException
                  || Thread.currentThread().isInterrupted());
      done.completeExceptionally(interrupted ? new LoaderInterrupted(error) : error);
    } finally {
      if (interruption != null) {
        interruption.end();
      }
    }
  }

  /** A loader that does not block. */
  static <V> Load<V> async(AsyncLoader<V> loader) {
    return (context, executor) -> {
      CompletableFuture<V> done = new CompletableFuture<>();
      try {
        loader
            .load(context)
            .whenComplete(
                (value, error) -> {
                  if (error == null) {
                    done.complete(value);
                  } else {
                    done.completeExceptionally(Errors.unwrap(error));
                  }
                });
      } catch (Throwable error) {
        // As the errors of a loader that blocks.
        done.completeExceptionally(error);
      }
      return done;
    };
  }

  /** Interrupts a thread of the client when the value is not wanted any more. */
  final class Interruption {
    private final ReentrantLock lock = new ReentrantLock();
    private final Thread thread = Thread.currentThread();
    private boolean ended;

    Interruption(LoadContext context) {
      context.onCancel(this::interrupt);
    }

    private void interrupt() {
      lock.lock();
      try {
        if (!ended) {
          thread.interrupt();
        }
      } finally {
        lock.unlock();
      }
    }

    void end() {
      lock.lock();
      try {
        ended = true;
      } finally {
        lock.unlock();
      }
      // The next work of the thread must not see it.
      Thread.interrupted();
    }
  }
}
