package dev.larder.client.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;

/** Tells work that it is not wanted any more. The first reason counts. */
public final class Cancellation {
  private final ReentrantLock lock = new ReentrantLock();
  private List<Runnable> actions = new ArrayList<>();
  private volatile Throwable reason;

  /** Whether it was cancelled. */
  public boolean isCancelled() {
    return reason != null;
  }

  /** Why it was cancelled; null: it was not. */
  public Throwable reason() {
    return reason;
  }

  /** Cancels, and runs the actions in this thread. */
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
    due.forEach(Runnable::run);
  }

  /** Runs an action at the cancellation; at once, if it is cancelled. Returns how to forget it. */
  public Runnable onCancel(Runnable action) {
    lock.lock();
    try {
      if (actions != null) {
        actions.add(action);
        return () -> forget(action);
      }
    } finally {
      lock.unlock();
    }
    action.run();
    return () -> {};
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
