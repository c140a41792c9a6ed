package dev.larder.jcache;

import dev.larder.client.Deleted;
import dev.larder.client.Key;
import dev.larder.client.LarderException;
import dev.larder.client.OnError;
import dev.larder.client.Result;
import dev.larder.client.internal.Errors;
import dev.larder.jcache.Storage.Id;
import dev.larder.jcache.Storage.Seen;
import java.time.Duration;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Function;
import javax.cache.CacheException;

/**
 * Changes of entries: with the writer, the expiry policy, the listeners and the statistics of the
 * cache. A change that depends on the entry is repeated until no other process has changed the
 * entry meanwhile. The writer gets it after that: what is not done to the entry is not written. If
 * the writer refuses it, the entry becomes what it was; others can have read it in between.
 */
final class Entries<K, V> {
  private static final int ATTEMPTS = 50;
  private static final long MAX_PAUSE_NANOS = 20_000_000;
  private static final long FIRST_PAUSE_NANOS = 200_000;

  final Storage<K, V> storage;
  final Expiry expiry;
  final Listeners<K, V> listeners;
  final CacheStatistics statistics;

  /** Null: the cache does not write through. */
  final Writing<K, V> writing;

  private final KeyLocks locks = new KeyLocks();
  private final boolean open;

  Entries(
      Storage<K, V> storage,
      Expiry expiry,
      Listeners<K, V> listeners,
      CacheStatistics statistics,
      Writing<K, V> writing,
      OnError onError) {
    this.storage = storage;
    this.expiry = expiry;
    this.listeners = listeners;
    this.statistics = statistics;
    this.writing = writing;
    this.open = onError == OnError.OPEN;
  }

  /** The change that follows from what an entry is. */
  enum Action {
    NOTHING,
    /** It was read. */
    ACCESS,
    /** It is stored in place of none. */
    CREATE,
    /** As CREATE, with a value of the loader. */
    LOAD,
    /** It is replaced. */
    UPDATE,
    /** As UPDATE, with a value of the loader. */
    RELOAD,
    REMOVE
  }

  /** An action, its value, and what the caller gets. */
  record Step<V, R>(Action action, V value, R result) {
    static <V, R> Step<V, R> nothing(R result) {
      return new Step<>(Action.NOTHING, null, result);
    }

    static <V, R> Step<V, R> access(R result) {
      return new Step<>(Action.ACCESS, null, result);
    }

    static <V, R> Step<V, R> remove(R result) {
      return new Step<>(Action.REMOVE, null, result);
    }

    static <V, R> Step<V, R> put(Seen<V> seen, V value, R result) {
      return new Step<>(seen.exists() ? Action.UPDATE : Action.CREATE, value, result);
    }
  }

  /**
   * Changes an entry in one step. {@code decide} can be called several times.
   *
   * @throws CacheException if the store cannot be reached, or others change the entry all the time
   */
  <R> R change(Id<K> id, Function<Seen<V>, Step<V, R>> decide) {
    return change(id, decide, writing);
  }

  private <R> R change(
      Id<K> id, Function<Seen<V>, Step<V, R>> decide, Writing<K, V> through) {
    long since = System.nanoTime();
    locks.lock(id.name());
    try {
      for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        Seen<V> seen = storage.read(id);
        long read = System.nanoTime();
        Step<V, R> step = decide.apply(seen);
        Applied applied = apply(id, seen, step, since);
        if (applied != null) {
          try {
            write(id, step, through);
          } catch (RuntimeException | Error refused) {
            takeBack(id, seen, applied, read, refused);
            throw refused;
          }
          applied.report().run();
          return step.result();
        }
        pause(attempt);
      }
    } finally {
      locks.unlock(id.name());
    }
    throw new CacheException(
        id.name() + ": other processes have changed it " + ATTEMPTS + " times meanwhile");
  }

  private static void pause(int attempt) {
    long longest = Math.min(MAX_PAUSE_NANOS, FIRST_PAUSE_NANOS << Math.min(attempt, 10));
    LockSupport.parkNanos(ThreadLocalRandom.current().nextLong(longest));
  }

  /**
   * The outcome of a change of an entry.
   *
   * @param version of the value that was stored; empty: none was
   * @param report counts the change and calls the listeners
   */
  private record Applied(String version, Runnable report) {
    static final Applied NOTHING = new Applied("", () -> {});
  }

  /** Gives an entry its former state, as the writer has refused the change. */
  private void takeBack(Id<K> id, Seen<V> seen, Applied applied, long read, Throwable refused) {
    Duration left =
        seen.remaining() == null
            ? expiry.creation()
            : seen.remaining().minusNanos(System.nanoTime() - read);
    try {
      storage.restore(id, seen, applied.version(), left);
    } catch (CacheException error) {
      refused.addSuppressed(error);
    }
  }

  /** Writes through. */
  private static <K, V> void write(Id<K> id, Step<V, ?> step, Writing<K, V> through) {
    if (through == null) {
      return;
    }
    if (step.action() == Action.CREATE || step.action() == Action.UPDATE) {
      through.write(id.key(), step.value());
    } else if (step.action() == Action.REMOVE) {
      through.delete(id.key());
    }
  }

  /** Changes an entry that is as it was seen; null: it is not. */
  private Applied apply(Id<K> id, Seen<V> seen, Step<V, ?> step, long since) {
    return switch (step.action()) {
      case NOTHING -> Applied.NOTHING;
      case ACCESS -> {
        accessed(id);
        yield Applied.NOTHING;
      }
      case CREATE, LOAD -> create(id, seen, step.value(), step.action() == Action.LOAD, since);
      case UPDATE, RELOAD -> update(id, seen, step.value(), step.action() == Action.RELOAD, since);
      case REMOVE -> remove(id, seen, since);
    };
  }

  private Applied create(Id<K> id, Seen<V> seen, V value, boolean loaded, long since) {
    Duration ttl = expiry.creation();
    if (ttl.isZero()) {
      return Applied.NOTHING;
    }
    String version = storage.write(id, value, ttl, seen);
    if (version == null) {
      return null;
    }
    return new Applied(
        version,
        () -> {
          if (!loaded) {
            statistics.put(since);
          }
          listeners.created(id.key(), value);
        });
  }

  private Applied update(Id<K> id, Seen<V> seen, V value, boolean loaded, long since) {
    Duration chosen = expiry.update();
    Duration ttl = chosen != null ? chosen : seen.remaining();
    boolean ends = ttl != null && ttl.isZero();
    String version;
    if (ends) {
      version = storage.remove(id, seen) ? "" : null;
    } else {
      version = storage.write(id, value, ttl == null ? expiry.creation() : ttl, seen);
    }
    if (version == null) {
      return null;
    }
    return new Applied(
        version,
        () -> {
          if (!loaded) {
            statistics.put(since);
          }
          if (ends) {
            listeners.expired(id.key(), seen.value());
          } else {
            listeners.updated(id.key(), value, seen.value());
          }
        });
  }

  private Applied remove(Id<K> id, Seen<V> seen, long since) {
    if (!seen.exists() && !seen.unreadable()) {
      return Applied.NOTHING;
    }
    if (!storage.remove(id, seen)) {
      return null;
    }
    return new Applied(
        "",
        () -> {
          if (seen.exists()) {
            statistics.removal(since);
            listeners.removed(id.key(), seen.value());
          }
        });
  }

  /** Replaces the value of an entry that is as it was seen. False: it is not. */
  boolean reload(Id<K> id, Seen<V> seen, V value) {
    locks.lock(id.name());
    try {
      Applied applied = update(id, seen, value, true, System.nanoTime());
      if (applied != null) {
        applied.report().run();
      }
      return applied != null;
    } finally {
      locks.unlock(id.name());
    }
  }

  /** An entry was read. */
  void accessed(Id<K> id) {
    Duration ttl = expiry.access();
    if (ttl != null) {
      storage.expireIn(id, ttl);
    }
  }

  /** Stores a value. Without the cache nothing is stored, unless the option on-error is raise. */
  void put(Id<K> id, V value) {
    if (writing == null) {
      putWritten(id, value);
      return;
    }
    locked(
        List.of(id),
        () -> {
          // Its value does not depend on the entry, so that the writer gets it also without one.
          writing.write(id.key(), value);
          putWritten(id, value);
        });
  }

  /** As put, for what the writer has. */
  void putWritten(Id<K> id, V value) {
    try {
      if (isBlind()) {
        store(Map.of(id, value), System.nanoTime());
      } else {
        change(id, seen -> Step.put(seen, value, null), null);
      }
    } catch (CacheException error) {
      passOver(error);
    }
  }

  /** Runs an action while no other thread of this process changes these entries. */
  void locked(Collection<Id<K>> ids, Runnable action) {
    // All threads take the locks in the same order, so that none waits for another in a circle.
    SortedSet<String> names = new TreeSet<>();
    ids.forEach(id -> names.add(id.name()));
    names.forEach(locks::lock);
    try {
      action.run();
    } finally {
      names.forEach(locks::unlock);
    }
  }

  /** Whether a put needs no read of the entry before. */
  boolean isBlind() {
    return expiry.isUniform() && listeners.isEmpty();
  }

  /** Throws an error, unless it is an outage that a put goes on after. */
  private void passOver(CacheException error) {
    boolean own = error.getClass() == CacheException.class;
    boolean outage =
        own && error.getCause() instanceof LarderException cause && Errors.isOutage(cause);
    if (!open || !outage && !(error instanceof Storage.Away)) {
      throw error;
    }
  }

  /** Stores values whatever the entries are. */
  void store(Map<Id<K>, V> values, long since) {
    Map<Key, Stored> stored = new LinkedHashMap<>();
    values.forEach((id, value) -> stored.put(id.address(), storage.stored(id, value)));
    int count = storage.setAll(stored, expiry.creation());
    for (int index = 0; index < count; index++) {
      statistics.put(since);
    }
  }

  /** Removes an entry, whatever its value; true: it was there. */
  boolean remove(Id<K> id) {
    return take(id, !listeners.isEmpty(), writing).existed();
  }

  /** Removes an entry; its value. */
  V removeAndGet(Id<K> id) {
    Deleted<Stored> deleted = take(id, true, writing);
    return deleted.removed() == null ? null : storage.valueOf(id, deleted.removed());
  }

  /** As remove, for what the writer has deleted. */
  void removeDeleted(Id<K> id) {
    take(id, true, null);
  }

  private Deleted<Stored> take(Id<K> id, boolean returning, Writing<K, V> through) {
    long since = System.nanoTime();
    locks.lock(id.name());
    try {
      if (through != null) {
        through.delete(id.key());
      }
      Deleted<Stored> deleted = storage.delete(id, returning);
      if (deleted.existed()) {
        statistics.removal(since);
        announce(id, deleted.removed());
      }
      return deleted;
    } finally {
      locks.unlock(id.name());
    }
  }

  private void announce(Id<K> id, Result<Stored> removed) {
    V old = removed == null ? null : storage.valueOf(id, removed);
    if (old != null) {
      listeners.removed(id.key(), old);
    }
  }
}
