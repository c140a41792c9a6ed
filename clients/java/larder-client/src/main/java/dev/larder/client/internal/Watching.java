package dev.larder.client.internal;

import dev.larder.client.Change;
import dev.larder.client.Watch;
import java.util.NoSuchElementException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ScheduledFuture;

/** The changes of a namespace for a program that reads them. */
final class Watching implements Watch, Follow.Listener {
  /** An item for the reader: a change and how to ask for the next, or the end. */
  private record Item(Change change, Runnable next, boolean end, Throwable error) {}

  private final LinkedBlockingQueue<Item> items = new LinkedBlockingQueue<>();
  private final Scope<?> scope;
  private final Cancellation ending;
  private final Follow follow;
  private volatile boolean valid;
  private volatile ScheduledFuture<?> patience;
  private Item current;

  Watching(Scope<?> scope, boolean keys) {
    this.scope = scope;
    scope.core.caller.checkOpen();
    ending = scope.core.running.open(null);
    follow = new Follow(scope, keys, ending, this);
    follow.start();
  }

  @Override
  public void signal(Follow.Signal signal, Runnable next) {
    if (signal.kind() == Follow.Kind.BROKEN) {
      // A stream that is away for as long as it may be silent is one that has missed changes.
      if (valid && patience == null) {
        patience = scope.core.timer.after(signal.silence(), this::lost);
      }
      return;
    }
    ScheduledFuture<?> waiting = patience;
    if (waiting != null) {
      waiting.cancel(false);
      patience = null;
    }
    if (signal.kind() == Follow.Kind.ALIVE) {
      next.run();
      return;
    }
    Change change = signal.change();
    if (change instanceof Change.Ready ready && !ready.resumed() && valid) {
      put(new Change.Reset(Change.Cause.DISCONNECTED), () -> {});
    }
    valid = !(change instanceof Change.Reset);
    put(change, next);
  }

  private void lost() {
    patience = null;
    if (valid) {
      valid = false;
      follow.forgetPosition();
      put(new Change.Reset(Change.Cause.DISCONNECTED), () -> {});
    }
  }

  private void put(Change change, Runnable next) {
    items.add(new Item(change, next, false, null));
  }

  @Override
  public void end(Throwable error) {
    scope.core.running.end(ending);
    items.add(new Item(null, null, true, error));
  }

  @Override
  public boolean hasNext() {
    if (current == null) {
      try {
        current = items.take();
      } catch (InterruptedException error) {
        Thread.currentThread().interrupt();
        throw Errors.cancelled("interrupted while waiting for a change", error);
      }
    }
    if (!current.end()) {
      return true;
    }
    if (current.error() != null) {
      throw Errors.<RuntimeException>sneaky(current.error());
    }
    return false;
  }

  @Override
  public Change next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the watch has ended");
    }
    Item taken = current;
    current = null;
    taken.next().run();
    return taken.change();
  }

  @Override
  public void close() {
    ending.cancel(Errors.cancelled("the watch is closed", null));
  }
}
