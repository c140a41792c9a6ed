package dev.larder.client.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;

/** The end of work that is not wanted any more. The first reason counts. */
public final class Cancellation {
  private static final System.Logger LOGGER = System.getLogger("dev.larder.client");

  private final ReentrantLock lock = new ReentrantLock();

  /** Null: none. Most calls have one or two. */
  private List<Runnable> actions;

  private volatile Throwable reason;

  /** Whether it was cancelled. */
  public boolean isCancelled() {
    return reason != null;
  }

  /** Why it was cancelled; null: it was not. */
  public Throwable reason() {
    return reason;
  }

  /** Cancels, and runs the actions in this thread. Their errors are logged. */
  public void cancel(Throwable why) {
    List<Runnable> due;
    lock.lock();
    try {
      if (reason != null) {
        return;
      }
      reason = why;
      due = actions;
      actions = null;
    } finally {
      lock.unlock();
    }
    if (due != null) {
      due.forEach(Cancellation::run);
    }
  }

  /** Runs an action at the cancellation; at once, if it is cancelled. Returns how to forget it. */
  public Runnable onCancel(Runnable action) {
    lock.lock();
    try {
      if (reason == null) {
        if (actions == null) {
          actions = new ArrayList<>(2);
        }
        actions.add(action);
        return () -> forget(action);
      }
    } finally {
      lock.unlock();
    }
    run(action);
    return () -> {};
  }

  /** An action of the program that throws must not leave the others undone. */
  private static void run(Runnable action) {
    try {
      action.run();
    } catch (Throwable error) {
      LOGGER.log(System.Logger.Level.WARNING, "an action of a cancellation failed", error);
    }
  }

  private void forget(Runnable action) {
    lock.lock();
    try {
      if (actions != null) {
        actions.remove(action);
      }
    } finally {
      lock.unlock();
    }
  }
}
