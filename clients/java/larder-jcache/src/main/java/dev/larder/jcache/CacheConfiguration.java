package dev.larder.jcache;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import javax.cache.configuration.CacheEntryListenerConfiguration;
import javax.cache.configuration.CompleteConfiguration;
import javax.cache.configuration.Configuration;
import javax.cache.configuration.Factory;
import javax.cache.configuration.MutableConfiguration;
import javax.cache.expiry.ExpiryPolicy;
import javax.cache.integration.CacheLoader;
import javax.cache.integration.CacheWriter;

/** A copy of a configuration. Only the switches and the listeners of the cache change it. */
final class CacheConfiguration<K, V> implements CompleteConfiguration<K, V> {
  private static final long serialVersionUID = 1L;

  private final MutableConfiguration<K, V> copied;
  private final CopyOnWriteArrayList<CacheEntryListenerConfiguration<K, V>> listeners =
      new CopyOnWriteArrayList<>();

  CacheConfiguration(Configuration<K, V> given) {
    if (given instanceof CompleteConfiguration<K, V> complete) {
      copied = new MutableConfiguration<>(complete);
      complete.getCacheEntryListenerConfigurations().forEach(listeners::add);
    } else {
      copied = new MutableConfiguration<>();
      copied.setTypes(given.getKeyType(), given.getValueType());
    }
  }

  @Override
  public Class<K> getKeyType() {
    return copied.getKeyType();
  }

  @Override
  public Class<V> getValueType() {
    return copied.getValueType();
  }

  @Override
  public boolean isStoreByValue() {
    return true;
  }

  @Override
  public boolean isReadThrough() {
    return copied.isReadThrough();
  }

  @Override
  public boolean isWriteThrough() {
    return copied.isWriteThrough();
  }

  @Override
  public boolean isStatisticsEnabled() {
    return copied.isStatisticsEnabled();
  }

  @Override
  public boolean isManagementEnabled() {
    return copied.isManagementEnabled();
  }

  void statistics(boolean enabled) {
    copied.setStatisticsEnabled(enabled);
  }

  void management(boolean enabled) {
    copied.setManagementEnabled(enabled);
  }

  /** Adds a listener. False: it is there. */
  boolean add(CacheEntryListenerConfiguration<K, V> listener) {
    return listeners.addIfAbsent(listener);
  }

  void remove(CacheEntryListenerConfiguration<K, V> listener) {
    listeners.remove(listener);
  }

  @Override
  public Iterable<CacheEntryListenerConfiguration<K, V>> getCacheEntryListenerConfigurations() {
    return List.copyOf(new ArrayList<>(listeners));
  }

  @Override
  public Factory<CacheLoader<K, V>> getCacheLoaderFactory() {
    return copied.getCacheLoaderFactory();
  }

  @Override
  public Factory<CacheWriter<? super K, ? super V>> getCacheWriterFactory() {
    return copied.getCacheWriterFactory();
  }

  @Override
  public Factory<ExpiryPolicy> getExpiryPolicyFactory() {
    return copied.getExpiryPolicyFactory();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof CacheConfiguration<?, ?> configuration
        && copied.equals(configuration.copied)
        && listeners.equals(configuration.listeners);
  }

  @Override
  public int hashCode() {
    return copied.hashCode();
  }
}
