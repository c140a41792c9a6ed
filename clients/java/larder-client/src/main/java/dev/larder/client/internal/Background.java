package dev.larder.client.internal;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;

/** Computations without a caller that waits: bounded, and kept so that close can end them. */
final class Background {
  private final ReentrantLock lock = new ReentrantLock();
  private final Set<Cancellation> running = new HashSet<>();
  private final Set<CompletableFuture<?>> parting = new HashSet<>();
  private final int limit;

  Background(int limit) {
    this.limit = limit;
  }

  /** Runs work, unless as many as are allowed run. False: it does not. */
  boolean start(Function<Cancellation, CompletableFuture<?>> work) {
    Cancellation cancellation = new Cancellation();
    lock.lock();
    try {
      if (running.size() >= limit) {
        return false;
      }
      running.add(cancellation);
    } finally {
      lock.unlock();
    }
    CompletableFuture<?> done = work.apply(cancellation);
    track(done);
    done.whenComplete((value, error) -> remove(running, cancellation));
    return true;
  }

  /** Lets close wait for the end of a call. Its errors are the call's own affair. */
  void track(CompletableFuture<?> call) {
    lock.lock();
    try {
      parting.add(call);
    } finally {
      lock.unlock();
    }
    call.whenComplete((value, error) -> remove(parting, call));
  }

  private <T> void remove(Set<T> from, T member) {
    lock.lock();
    try {
      from.remove(member);
    } finally {
      lock.unlock();
    }
  }

  /** Cancels the computations. */
  void cancel(Throwable reason) {
    List<Cancellation> all;
    lock.lock();
    try {
      all = new ArrayList<>(running);
    } finally {
      lock.unlock();
    }
    all.forEach(each -> each.cancel(reason));
  }

  /** Ends when nothing is sent any more. */
  CompletableFuture<Void> parted() {
    List<CompletableFuture<?>> all;
    lock.lock();
    try {
      all = new ArrayList<>(parting);
    } finally {
      lock.unlock();
    }
    if (all.isEmpty()) {
      return CompletableFuture.completedFuture(null);
    }
    CompletableFuture<?>[] settled =
        all.stream()
            .map(each -> each.handle((value, error) -> null))
            .toArray(CompletableFuture<?>[]::new);
    // The end of a computation may be followed by the call that gives its lease up.
    return CompletableFuture.allOf(settled).thenCompose(ignored -> parted());
  }
}
