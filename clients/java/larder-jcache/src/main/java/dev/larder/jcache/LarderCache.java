package dev.larder.jcache;

import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.jcache.Entries.Step;
import dev.larder.jcache.Storage.Id;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.cache.Cache;
import javax.cache.CacheManager;
import javax.cache.configuration.CacheEntryListenerConfiguration;
import javax.cache.configuration.Configuration;
import javax.cache.integration.CompletionListener;
import javax.cache.processor.EntryProcessor;
import javax.cache.processor.EntryProcessorResult;

/** A cache whose entries are a namespace of the server. */
final class LarderCache<K, V> implements Cache<K, V> {
  private final LarderCacheManager manager;
  private final String name;
  private final CacheConfiguration<K, V> configuration;
  private final CacheStatistics statistics = new CacheStatistics();
  private final Listeners<K, V> listeners = new Listeners<>(this);
  private final Entries<K, V> entries;
  private final Batches<K, V> batches;
  private final AtomicBoolean closed = new AtomicBoolean();

  /** Null: the cache has no loader. */
  private final Loading<K, V> loading;

  LarderCache(
      LarderCacheManager manager,
      String name,
      CacheConfiguration<K, V> configuration,
      JCacheSettings settings,
      LarderClient client) {
    this.manager = manager;
    this.name = name;
    this.configuration = configuration;
    Closing made = new Closing();
    boolean shown = false;
    try {
      Expiry expiry = new Expiry(made.make(configuration.getExpiryPolicyFactory()));
      var writer =
          configuration.isWriteThrough()
              ? made.make(configuration.getCacheWriterFactory())
              : null;
      entries =
          new Entries<>(
              new Storage<>(client, name, configuration, settings, manager.getClassLoader()),
              expiry,
              listeners,
              statistics,
              writer == null ? null : new Writing<>(writer),
              settings.onError());
      var loader = made.make(configuration.getCacheLoaderFactory());
      loading = loader == null ? null : new Loading<>(entries, loader);
      batches = new Batches<>(entries);
      configuration.getCacheEntryListenerConfigurations().forEach(listeners::add);
      shown = true;
      enableManagement(configuration.isManagementEnabled());
      enableStatistics(configuration.isStatisticsEnabled());
    } catch (RuntimeException | Error error) {
      if (shown) {
        hideBeans();
      }
      listeners.close();
      made.closeAll();
      throw error;
    }
  }

  private void hideBeans() {
    Closing.close((AutoCloseable) () -> CacheBeans.configuration(this, false));
    Closing.close((AutoCloseable) () -> CacheBeans.statistics(this, statistics, false));
  }

  CacheConfiguration<K, V> configuration() {
    return configuration;
  }

  /** The loader of reads that miss; null: there is none. */
  private Loading<K, V> loader() {
    return configuration.isReadThrough() ? loading : null;
  }

  private void checkOpen() {
    if (closed.get()) {
      throw new IllegalStateException("the cache " + name + " is closed");
    }
  }

  private static <T> T present(T argument, String name) {
    return Objects.requireNonNull(argument, () -> name + ": must not be null");
  }

  private static void checkType(Class<?> type, Object object) {
    if (!type.isInstance(object)) {
      throw new ClassCastException(
          "the cache takes " + type.getName() + ", got " + object.getClass().getName());
    }
  }

  private Id<K> id(K key) {
    checkOpen();
    checkType(configuration.getKeyType(), present(key, "key"));
    return entries.storage.id(key);
  }

  private List<Id<K>> ids(Set<? extends K> keys) {
    checkOpen();
    present(keys, "keys");
    List<Id<K>> ids = new ArrayList<>();
    keys.forEach(key -> ids.add(id(key)));
    return ids;
  }

  private V checked(V value) {
    checkType(configuration.getValueType(), present(value, "value"));
    return value;
  }

  @Override
  public V get(K key) {
    return Reading.get(entries, loader(), id(key));
  }

  @Override
  public Map<K, V> getAll(Set<? extends K> keys) {
    return Reading.getAll(entries, loader(), ids(keys));
  }

  @Override
  public boolean containsKey(K key) {
    return entries.storage.contains(id(key));
  }

  @Override
  public void loadAll(
      Set<? extends K> keys, boolean replaceExistingValues, CompletionListener listener) {
    List<Id<K>> ids = ids(keys);
    if (loading == null) {
      if (listener != null) {
        listener.onCompletion();
      }
      return;
    }
    batches.load(() -> loading.loadAll(ids, replaceExistingValues), listener);
  }

  @Override
  public void put(K key, V value) {
    entries.put(id(key), checked(value));
  }

  @Override
  public V getAndPut(K key, V value) {
    long since = System.nanoTime();
    Id<K> id = id(key);
    checked(value);
    V old = entries.change(id, seen -> Step.put(seen, value, seen.value()));
    statistics.read(old != null, since);
    return old;
  }

  @Override
  public void putAll(Map<? extends K, ? extends V> map) {
    checkOpen();
    present(map, "map");
    Map<Id<K>, V> values = new LinkedHashMap<>();
    map.forEach((key, value) -> values.put(id(key), checked(value)));
    batches.putAll(values);
  }

  @Override
  public boolean putIfAbsent(K key, V value) {
    long since = System.nanoTime();
    Id<K> id = id(key);
    checked(value);
    boolean stored =
        entries.change(
            id,
            seen -> seen.exists() ? Step.nothing(false) : Step.put(seen, value, true));
    statistics.read(!stored, since);
    return stored;
  }

  @Override
  public boolean remove(K key) {
    return entries.remove(id(key));
  }

  @Override
  public boolean remove(K key, V oldValue) {
    long since = System.nanoTime();
    Id<K> id = id(key);
    checked(oldValue);
    boolean removed =
        entries.change(
            id,
            seen -> {
              if (!seen.exists()) {
                return Step.nothing(false);
              }
              return seen.value().equals(oldValue) ? Step.remove(true) : Step.access(false);
            });
    statistics.read(removed, since);
    return removed;
  }

  @Override
  public V getAndRemove(K key) {
    long since = System.nanoTime();
    V old = entries.removeAndGet(id(key));
    statistics.read(old != null, since);
    return old;
  }

  @Override
  public boolean replace(K key, V oldValue, V newValue) {
    long since = System.nanoTime();
    Id<K> id = id(key);
    checked(oldValue);
    checked(newValue);
    boolean[] present = new boolean[1];
    boolean replaced =
        entries.change(
            id,
            seen -> {
              present[0] = seen.exists();
              if (!seen.exists()) {
                return Step.nothing(false);
              }
              return seen.value().equals(oldValue)
                  ? Step.put(seen, newValue, true)
                  : Step.access(false);
            });
    statistics.read(present[0], since);
    return replaced;
  }

  @Override
  public boolean replace(K key, V value) {
    return getAndReplace(key, value) != null;
  }

  @Override
  public V getAndReplace(K key, V value) {
    long since = System.nanoTime();
    Id<K> id = id(key);
    checked(value);
    V old =
        entries.change(
            id,
            seen -> seen.exists() ? Step.put(seen, value, seen.value()) : Step.nothing(null));
    statistics.read(old != null, since);
    return old;
  }

  @Override
  public void removeAll(Set<? extends K> keys) {
    batches.removeAll(ids(keys));
  }

  @Override
  public void removeAll() {
    checkOpen();
    if (entries.writing == null && listeners.isEmpty()) {
      batches.removeListed();
    } else {
      batches.removeAll(new EntryIterator<>(entries, closed::get).ids());
    }
  }

  /** Makes all entries unreachable, those of other processes too. */
  @Override
  public void clear() {
    checkOpen();
    entries.storage.clear();
  }

  /**
   * Changes an entry in one step. The processor runs again if another process has changed the entry
   * meanwhile, so that it must have no other effect.
   */
  @Override
  public <T> T invoke(K key, EntryProcessor<K, V, T> processor, Object... arguments) {
    Id<K> id = id(key);
    present(processor, "entryProcessor");
    return Processing.invoke(entries, loader(), id, processor, arguments);
  }

  @Override
  public <T> Map<K, EntryProcessorResult<T>> invokeAll(
      Set<? extends K> keys, EntryProcessor<K, V, T> processor, Object... arguments) {
    List<Id<K>> ids = ids(keys);
    present(processor, "entryProcessor");
    return Processing.invokeAll(entries, loader(), ids, processor, arguments);
  }

  @Override
  public Iterator<Entry<K, V>> iterator() {
    checkOpen();
    return new EntryIterator<>(entries, closed::get);
  }

  @Override
  public void registerCacheEntryListener(CacheEntryListenerConfiguration<K, V> listener) {
    checkOpen();
    if (!configuration.add(present(listener, "configuration"))) {
      throw new IllegalArgumentException("configuration: it is registered");
    }
    try {
      listeners.add(listener);
    } catch (RuntimeException | Error error) {
      configuration.remove(listener);
      throw error;
    }
  }

  @Override
  public void deregisterCacheEntryListener(CacheEntryListenerConfiguration<K, V> listener) {
    checkOpen();
    configuration.remove(present(listener, "configuration"));
    listeners.remove(listener);
  }

  @Override
  public String getName() {
    return name;
  }

  @Override
  public CacheManager getCacheManager() {
    return manager;
  }

  @Override
  public <C extends Configuration<K, V>> C getConfiguration(Class<C> type) {
    if (type.isInstance(configuration)) {
      return type.cast(configuration);
    }
    throw new IllegalArgumentException("the configuration is no " + type.getName());
  }

  @Override
  public <T> T unwrap(Class<T> type) {
    if (type.isInstance(this)) {
      return type.cast(this);
    }
    if (type == Namespace.class) {
      return type.cast(entries.storage.open);
    }
    throw new IllegalArgumentException("a cache is no " + type.getName());
  }

  void enableManagement(boolean enabled) {
    checkOpen();
    configuration.management(enabled);
    CacheBeans.configuration(this, enabled);
  }

  void enableStatistics(boolean enabled) {
    checkOpen();
    configuration.statistics(enabled);
    statistics.enable(enabled);
    CacheBeans.statistics(this, statistics, enabled);
  }

  /** Removes all entries and closes the cache. */
  void destroy() {
    try {
      entries.storage.clear();
    } finally {
      close();
    }
  }

  /** Closes the cache. Its entries stay. */
  @Override
  public void close() {
    if (!closed.compareAndSet(false, true)) {
      return;
    }
    manager.closed(this);
    hideBeans();
    batches.close();
    listeners.close();
    Closing.close(entries.expiry.policy());
    Closing.close(loading == null ? null : loading.loader());
    Closing.close(entries.writing == null ? null : entries.writing.writer());
  }

  @Override
  public boolean isClosed() {
    return closed.get();
  }
}
