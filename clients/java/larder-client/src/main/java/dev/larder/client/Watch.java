package dev.larder.client;

import java.util.Iterator;

/**
 * The changes of a namespace, as long as it is open. Connections that break are made again; what
 * was missed meanwhile comes first, or else {@link Change.Reset}. The first event is {@link
 * Change.Ready}. One thread reads it; {@code close} ends it from any thread.
 */
public interface Watch extends Iterator<Change>, Iterable<Change>, AutoCloseable {
  /** Waits for a change. False: the watch or its client is closed. */
  @Override
  boolean hasNext();

  @Override
  default Iterator<Change> iterator() {
    return this;
  }

  /** Ends the watch. It can be repeated. */
  @Override
  void close();
}
