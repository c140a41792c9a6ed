package dev.larder.jcache;

import dev.larder.client.LarderClient;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.locks.ReentrantLock;

/** The clients of a provider: cache managers with the same options of the connection share one. */
final class Connections {
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<Map<String, String>, Shared> clients = new HashMap<>();

  private static final class Shared {
    final LarderClient client;
    int users;

    Shared(LarderClient client) {
      this.client = client;
    }
  }

  /** The client of a cache manager, which must be released once. */
  LarderClient take(JCacheSettings settings) {
    if (settings.client() != null) {
      return settings.client();
    }
    lock.lock();
    try {
      Shared shared = clients.get(settings.options());
      if (shared == null) {
        shared = new Shared(settings.connect());
        clients.put(settings.options(), shared);
      }
      shared.users++;
      return shared.client;
    } finally {
      lock.unlock();
    }
  }

  /** Closes the client after its last user. One of the program stays open. */
  void release(JCacheSettings settings) {
    if (settings.client() != null) {
      return;
    }
    Shared last = null;
    lock.lock();
    try {
      Shared shared = clients.get(settings.options());
      if (--shared.users == 0) {
        last = clients.remove(settings.options());
      }
    } finally {
      lock.unlock();
    }
    if (last != null) {
      last.client.close();
    }
  }
}
