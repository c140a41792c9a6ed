package dev.larder.client.internal;

/** Why a stream is given up from which nothing comes any more. */
final class Silence extends RuntimeException {
  private static final long serialVersionUID = 1L;

  Silence() {
    super("the stream is silent", null, false, false);
  }
}
