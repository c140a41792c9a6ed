package dev.larder.jcache;

import dev.larder.client.Key;
import dev.larder.client.ListedKey;
import dev.larder.client.Result;
import dev.larder.jcache.Storage.Id;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.function.BooleanSupplier;
import javax.cache.Cache;

/**
 * The entries of a cache, in no order. They are read in parts: one that is written meanwhile may or
 * may not be among them.
 */
final class EntryIterator<K, V> implements Iterator<Cache.Entry<K, V>> {
  private static final int PART = 100;

  private final Entries<K, V> entries;
  private final BooleanSupplier closed;
  private final Iterator<ListedKey> names;
  private final Deque<Found<K, V>> found = new ArrayDeque<>();
  private Found<K, V> last;

  EntryIterator(Entries<K, V> entries, BooleanSupplier closed) {
    this.entries = entries;
    this.closed = closed;
    this.names = entries.storage.list();
  }

  private record Found<K, V>(Id<K> id, V value) {}

  private void checkOpen() {
    if (closed.getAsBoolean()) {
      throw new IllegalStateException("the cache is closed");
    }
  }

  @Override
  public boolean hasNext() {
    checkOpen();
    while (found.isEmpty() && Storage.call(names::hasNext)) {
      List<Key> part = new ArrayList<>();
      while (part.size() < PART && Storage.call(names::hasNext)) {
        part.add(Key.of(names.next().key()));
      }
      read(part);
    }
    return !found.isEmpty();
  }

  private void read(List<Key> part) {
    Map<Key, Result<Stored>> results =
        Storage.call(() -> entries.storage.open.getMany(part, Storage.FRESH));
    results.forEach(
        (address, result) -> {
          if (result instanceof Result.Hit<Stored> hit) {
            add(address, hit.value());
          }
        });
  }

  private void add(Key address, Stored stored) {
    try {
      K key = entries.storage.key(stored);
      Id<K> id = new Id<>(key, stored.key(), address);
      found.add(new Found<>(id, entries.storage.value(id, stored)));
    } catch (IllegalArgumentException unreadable) {
      // An entry of another program.
      return;
    }
  }

  @Override
  public Cache.Entry<K, V> next() {
    long since = System.nanoTime();
    if (!hasNext()) {
      throw new NoSuchElementException("there are no more entries");
    }
    last = found.poll();
    entries.statistics.read(true, since);
    entries.accessed(last.id());
    return new CacheEntry<>(last.id().key(), last.value());
  }

  /** Removes the entry that {@code next} has returned last. */
  @Override
  public void remove() {
    checkOpen();
    if (last == null) {
      throw new IllegalStateException("there is no entry to remove");
    }
    entries.remove(last.id());
    last = null;
  }

  /** The keys of what is left. */
  List<Id<K>> ids() {
    List<Id<K>> ids = new ArrayList<>();
    while (hasNext()) {
      ids.add(found.poll().id());
    }
    return ids;
  }
}
