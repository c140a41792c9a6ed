package dev.larder.client.internal;

import java.util.concurrent.Executor;

/**
 * The context of one call of the program.
 *
 * @param cancellation ends what is done for it
 * @param parent context of the caller for the observer; null: none
 * @param loaders runs its loaders
 * @param callbacks takes the answers of the server, so that no other thread must wake the one that
 *     waits for them; null: threads of the client
 */
public record Call(
    Cancellation cancellation, Object parent, Executor loaders, Executor callbacks) {
  /** The same call with another cancellation. */
  public Call with(Cancellation other) {
    return new Call(other, parent, loaders, callbacks);
  }

  /** The same call for a thread that waits for it. */
  public Call in(Executor thread) {
    return new Call(cancellation, parent, loaders, thread);
  }

  /** The same call without a caller that waits for it, with another cancellation and executor. */
  public Call apart(Cancellation other, Executor executor) {
    return new Call(other, parent, executor, null);
  }

  /** The same call without a caller that could cancel it. */
  public Call detached() {
    return apart(new Cancellation(), loaders);
  }
}
