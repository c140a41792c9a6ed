package dev.larder.jcache;

/** Closes what a program has given to a cache. */
final class Closing {
  private static final System.Logger LOGGER = System.getLogger("dev.larder.jcache");

  private Closing() {}

  /** Closes an object if it can be closed. An error of that is logged. */
  static void close(Object object) {
    if (object instanceof AutoCloseable closeable) {
      try {
        closeable.close();
      } catch (Exception error) {
        // A cache must close all that it has, whatever one of them does.
        LOGGER.log(System.Logger.Level.WARNING, "close of " + object.getClass().getName(), error);
      }
    }
  }
}
