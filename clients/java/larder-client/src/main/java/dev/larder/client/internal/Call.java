package dev.larder.client.internal;

import java.util.concurrent.Executor;

/**
 * The context of one call of the program.
 *
 * @param cancellation ends what is done for it
 * @param parent context of the caller for the observer; null: none
 * @param loaders runs its loaders
 */
public record Call(Cancellation cancellation, Object parent, Executor loaders) {
  /** The same call with another cancellation and another executor. */
  public Call with(Cancellation other, Executor executor) {
    return new Call(other, parent, executor);
  }

  /** The same call without a caller that could cancel it. */
  public Call detached() {
    return new Call(new Cancellation(), parent, loaders);
  }
}
