package dev.larder.client.internal;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Runs loaders in the thread that waits for their values, so that they see its transaction and its
 * thread locals. After the thread has left, they run on another executor.
 */
public final class CallerThread implements Executor {
  private static final Runnable DONE = () -> {};

  private final ReentrantLock lock = new ReentrantLock();
  private final LinkedBlockingQueue<Runnable> actions = new LinkedBlockingQueue<>();
  private final Executor fallback;
  private boolean left;

  /** Work that has an answer if no thread can take it. */
  interface Refusable extends Runnable {
    /** Ends the work without a thread. */
    void refuse(RejectedExecutionException full);
  }

  /** A queue for the calling thread. */
  public CallerThread(Executor fallback) {
    this.fallback = fallback;
  }

  @Override
  public void execute(Runnable action) {
    lock.lock();
    try {
      if (!left) {
        actions.add(action);
        return;
      }
    } finally {
      lock.unlock();
    }
    fallback.execute(action);
  }

  /** Waits for a result, and runs what is to be run meanwhile. Throws its error as it is. */
  public <R> R await(CompletableFuture<R> result) throws InterruptedException {
    result.whenComplete((value, error) -> actions.add(DONE));
    try {
      while (true) {
        Runnable next = actions.take();
        if (next == DONE) {
          return now(result);
        }
        next.run();
      }
    } finally {
      leave();
    }
  }

  private void leave() {
    lock.lock();
    try {
      left = true;
    } finally {
      lock.unlock();
    }
    for (Runnable action = actions.poll(); action != null; action = actions.poll()) {
      if (action != DONE) {
        handOver(action);
      }
    }
  }

  private void handOver(Runnable action) {
    try {
      fallback.execute(action);
    } catch (RejectedExecutionException full) {
      if (action instanceof Refusable work) {
        work.refuse(full);
      } else {
        action.run();
      }
    }
  }

  private static <R> R now(CompletableFuture<R> result) throws InterruptedException {
    try {
      return result.get();
    } catch (ExecutionException error) {
      throw Errors.<RuntimeException>sneaky(Errors.unwrap(error));
    }
  }
}
