package dev.larder.jcache;

import dev.larder.client.LarderClient;
import java.net.URI;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.locks.ReentrantLock;
import javax.cache.Cache;
import javax.cache.CacheException;
import javax.cache.CacheManager;
import javax.cache.configuration.Configuration;
import javax.cache.spi.CachingProvider;

/** The caches of a URI and a class loader. {@code unwrap} gives the {@link LarderClient}. */
public final class LarderCacheManager implements CacheManager {
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<String, LarderCache<?, ?>> caches = new LinkedHashMap<>();
  private final LarderCachingProvider provider;
  private final Identity identity;
  private final JCacheSettings settings;
  private final LarderClient client;
  private volatile boolean closed;

  LarderCacheManager(
      LarderCachingProvider provider,
      Identity identity,
      JCacheSettings settings,
      LarderClient client) {
    this.provider = provider;
    this.identity = identity;
    this.settings = settings;
    this.client = client;
  }

  /** The arguments by which a provider finds a manager; {@code properties} can be null. */
  record Identity(URI uri, ClassLoader loader, Properties properties) {}

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the cache manager " + identity.uri() + " is closed");
    }
  }

  @Override
  public CachingProvider getCachingProvider() {
    return provider;
  }

  @Override
  public URI getURI() {
    return identity.uri();
  }

  @Override
  public ClassLoader getClassLoader() {
    return identity.loader();
  }

  @Override
  public Properties getProperties() {
    Properties copy = new Properties();
    if (identity.properties() != null) {
      copy.putAll(identity.properties());
    }
    return copy;
  }

  /**
   * A cache: a namespace of the server, whose entries other processes may have written.
   *
   * @throws UnsupportedOperationException if it is to store by reference
   * @throws CacheException if this manager has a cache of that name
   */
  @Override
  public <K, V, C extends Configuration<K, V>> Cache<K, V> createCache(
      String name, C configuration) {
    checkOpen();
    Objects.requireNonNull(name, "name: must not be null");
    Objects.requireNonNull(configuration, "configuration: must not be null");
    if (!configuration.isStoreByValue()) {
      throw new UnsupportedOperationException("values are stored by value only");
    }
    lock.lock();
    try {
      checkOpen();
      if (caches.containsKey(name)) {
        throw new CacheException("there is a cache " + name);
      }
      LarderCache<K, V> cache =
          new LarderCache<>(this, name, new CacheConfiguration<>(configuration), settings, client);
      caches.put(name, cache);
      return cache;
    } finally {
      lock.unlock();
    }
  }

  private LarderCache<?, ?> find(String name) {
    checkOpen();
    Objects.requireNonNull(name, "name: must not be null");
    lock.lock();
    try {
      return caches.get(name);
    } finally {
      lock.unlock();
    }
  }

  @Override
  @SuppressWarnings("unchecked") // The types are those of the configuration.
  public <K, V> Cache<K, V> getCache(String name, Class<K> keyType, Class<V> valueType) {
    Objects.requireNonNull(keyType, "keyType: must not be null");
    Objects.requireNonNull(valueType, "valueType: must not be null");
    LarderCache<?, ?> cache = find(name);
    if (cache == null) {
      return null;
    }
    CacheConfiguration<?, ?> declared = cache.configuration();
    if (declared.getKeyType() != keyType || declared.getValueType() != valueType) {
      throw new ClassCastException(
          name
              + " is a cache of "
              + declared.getKeyType().getName()
              + " and "
              + declared.getValueType().getName());
    }
    return (Cache<K, V>) cache;
  }

  @Override
  @SuppressWarnings("unchecked") // The types are the caller's affair.
  public <K, V> Cache<K, V> getCache(String name) {
    return (Cache<K, V>) find(name);
  }

  @Override
  public Iterable<String> getCacheNames() {
    checkOpen();
    lock.lock();
    try {
      return Collections.unmodifiableList(new ArrayList<>(caches.keySet()));
    } finally {
      lock.unlock();
    }
  }

  /**
   * Closes a cache and removes its entries, which are those of all processes.
   *
   * @throws CacheException if the entries cannot be removed; the cache is closed all the same
   */
  @Override
  public void destroyCache(String name) {
    LarderCache<?, ?> cache = find(name);
    if (cache != null) {
      cache.destroy();
    }
  }

  @Override
  public void enableManagement(String name, boolean enabled) {
    LarderCache<?, ?> cache = find(name);
    if (cache != null) {
      cache.enableManagement(enabled);
    }
  }

  @Override
  public void enableStatistics(String name, boolean enabled) {
    LarderCache<?, ?> cache = find(name);
    if (cache != null) {
      cache.enableStatistics(enabled);
    }
  }

  /** Forgets a cache that was closed. */
  void closed(LarderCache<?, ?> cache) {
    lock.lock();
    try {
      caches.remove(cache.getName(), cache);
    } finally {
      lock.unlock();
    }
  }

  /** Closes all caches; their entries stay. */
  @Override
  public void close() {
    List<LarderCache<?, ?>> all;
    lock.lock();
    try {
      if (closed) {
        return;
      }
      closed = true;
      all = new ArrayList<>(caches.values());
    } finally {
      lock.unlock();
    }
    all.forEach(LarderCache::close);
    provider.closed(this, settings);
  }

  @Override
  public boolean isClosed() {
    return closed;
  }

  @Override
  public <T> T unwrap(Class<T> type) {
    if (type.isInstance(this)) {
      return type.cast(this);
    }
    if (type == LarderClient.class) {
      return type.cast(client);
    }
    throw new IllegalArgumentException("a cache manager is no " + type.getName());
  }
}
