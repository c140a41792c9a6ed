package dev.larder.jcache;

import java.util.ArrayDeque;
import java.util.Deque;
import javax.cache.configuration.Factory;

/** Closes what a program has given to a cache. An object of it keeps what factories have made. */
final class Closing {
  private static final System.Logger LOGGER = System.getLogger("dev.larder.jcache");

  private final Deque<Object> made = new ArrayDeque<>();

  /** The object that a factory makes; null without a factory. */
  <T> T make(Factory<T> factory) {
    T object = factory == null ? null : factory.create();
    if (object != null) {
      made.push(object);
    }
    return object;
  }

  /** Closes all that was made, the last first. */
  void closeAll() {
    made.forEach(Closing::close);
  }

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
