package dev.larder.jcache;

import dev.larder.jcache.Entries.Action;
import dev.larder.jcache.Entries.Step;
import dev.larder.jcache.Storage.Seen;
import javax.cache.processor.MutableEntry;

/** The entry of an entry processor: it collects what becomes of the entry. */
final class ProcessorEntry<K, V> implements MutableEntry<K, V> {
  private final K key;
  private final Seen<V> seen;
  private final Loading<K, V> loading;
  private V value;
  private Action action = Action.NOTHING;

  /** {@code loading} null: the cache does not read through. */
  ProcessorEntry(K key, Seen<V> seen, Loading<K, V> loading) {
    this.key = key;
    this.seen = seen;
    this.loading = loading;
    this.value = seen.value();
  }

  @Override
  public K getKey() {
    return key;
  }

  @Override
  public boolean exists() {
    return value != null;
  }

  @Override
  public V getValue() {
    if (value == null && action == Action.NOTHING && loading != null) {
      value = loading.load(key);
      action = value == null ? Action.NOTHING : Action.LOAD;
    } else if (value != null && action == Action.NOTHING) {
      action = Action.ACCESS;
    }
    return value;
  }

  @Override
  public void setValue(V value) {
    if (value == null) {
      throw new NullPointerException("value: must not be null");
    }
    this.value = value;
    action = seen.exists() ? Action.UPDATE : Action.CREATE;
  }

  @Override
  public void remove() {
    // An entry that was made in this call only has never been there.
    action =
        action == Action.CREATE || action == Action.LOAD ? Action.NOTHING : Action.REMOVE;
    value = null;
  }

  @Override
  public <T> T unwrap(Class<T> type) {
    if (type.isInstance(this)) {
      return type.cast(this);
    }
    throw new IllegalArgumentException("an entry is no " + type.getName());
  }

  /** The net change. */
  <R> Step<V, R> step(R result) {
    return new Step<>(action, value, result);
  }
}
