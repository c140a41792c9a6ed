package dev.larder.client.internal;

/** The thread that ran a loader was interrupted: those that joined ask again. */
final class LoaderInterrupted extends RuntimeException {
  private static final long serialVersionUID = 1L;

  LoaderInterrupted(Throwable cause) {
    super("the loader was interrupted", cause, false, false);
  }
}
