package dev.larder.client.internal;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;

/** Work that runs until it is done, its caller cancels it, or the client closes. */
final class Running {
  private final ReentrantLock lock = new ReentrantLock();
  private final Set<Cancellation> all = new HashSet<>();
  private Throwable closed;

  /** A cancellation that the other one cancels, too. It must be ended. */
  Cancellation open(Cancellation outer) {
    Cancellation inner = new Cancellation();
    Runnable forget = outer == null ? () -> {} : outer.onCancel(() -> inner.cancel(outer.reason()));
    inner.onCancel(forget);
    lock.lock();
    try {
      if (closed == null) {
        all.add(inner);
        return inner;
      }
    } finally {
      lock.unlock();
    }
    inner.cancel(closed);
    return inner;
  }

  void end(Cancellation ended) {
    lock.lock();
    try {
      all.remove(ended);
    } finally {
      lock.unlock();
    }
    ended.cancel(Errors.cancelled("it has ended", null));
  }

  void close(Throwable reason) {
    Set<Cancellation> open;
    lock.lock();
    try {
      closed = reason;
      open = new HashSet<>(all);
      all.clear();
    } finally {
      lock.unlock();
    }
    new ArrayList<>(open).forEach(each -> each.cancel(reason));
  }
}
