package dev.larder.jcache;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;

/** One lock for each key in use: the changes of an entry by this process happen one by one. */
final class KeyLocks {
  private final ConcurrentHashMap<String, Held> locks = new ConcurrentHashMap<>();

  private static final class Held {
    final ReentrantLock lock = new ReentrantLock();

    /** Threads that have it or wait for it. Changed only within a compute of the map. */
    int users;
  }

  /** Waits for the lock of a key. */
  void lock(String key) {
    Held held =
        locks.compute(
            key,
            (name, present) -> {
              Held used = present == null ? new Held() : present;
              used.users++;
              return used;
            });
    held.lock.lock();
  }

  /** Releases it. */
  void unlock(String key) {
    locks.get(key).lock.unlock();
    locks.computeIfPresent(key, (name, held) -> --held.users == 0 ? null : held);
  }

  /** Locks in use. */
  int size() {
    return locks.size();
  }
}
