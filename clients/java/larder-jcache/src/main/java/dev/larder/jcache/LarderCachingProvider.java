package dev.larder.jcache;

import java.net.URI;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BiPredicate;
import javax.cache.CacheException;
import javax.cache.CacheManager;
import javax.cache.configuration.OptionalFeature;
import javax.cache.spi.CachingProvider;

/**
 * JCache on Larder. A cache is a namespace of the server, so that all processes that create it
 * share its entries. The URI of a cache manager and its properties name the server; the
 * default is {@code larder:default}, for the server that {@code LARDER_ENDPOINT} names. System
 * properties that begin with {@code larder.} are the default properties.
 */
public final class LarderCachingProvider implements CachingProvider {
  private static final URI DEFAULT_URI = URI.create("larder:default");

  private final ReentrantLock lock = new ReentrantLock();
  private final Map<ClassLoader, Map<URI, LarderCacheManager>> managers = new IdentityHashMap<>();
  private final Connections connections = new Connections();

  /** For {@link javax.cache.Caching}. */
  public LarderCachingProvider() {}

  @Override
  public CacheManager getCacheManager(URI uri, ClassLoader loader, Properties properties) {
    URI name = uri == null ? getDefaultURI() : uri;
    ClassLoader classes = loader == null ? getDefaultClassLoader() : loader;
    lock.lock();
    try {
      Map<URI, LarderCacheManager> own =
          managers.computeIfAbsent(classes, ignored -> new HashMap<>());
      LarderCacheManager manager = own.get(name);
      if (manager == null) {
        Properties all = getDefaultProperties();
        if (properties != null) {
          all.putAll(properties);
        }
        JCacheSettings settings = JCacheSettings.of(name, all);
        manager =
            new LarderCacheManager(
                this,
                new LarderCacheManager.Identity(name, classes, properties),
                settings,
                connections.take(settings));
        own.put(name, manager);
      }
      return manager;
    } finally {
      lock.unlock();
    }
  }

  @Override
  public CacheManager getCacheManager(URI uri, ClassLoader loader) {
    return getCacheManager(uri, loader, null);
  }

  @Override
  public CacheManager getCacheManager() {
    return getCacheManager(null, null, null);
  }

  @Override
  public ClassLoader getDefaultClassLoader() {
    ClassLoader own = LarderCachingProvider.class.getClassLoader();
    return own == null ? ClassLoader.getSystemClassLoader() : own;
  }

  /** {@code larder:default}, or the system property {@code larder.uri}. */
  @Override
  public URI getDefaultURI() {
    String text = System.getProperty("larder.uri");
    try {
      return text == null ? DEFAULT_URI : URI.create(text);
    } catch (IllegalArgumentException error) {
      throw new CacheException("the system property larder.uri: " + error.getMessage(), error);
    }
  }

  /** System properties that begin with {@code larder.}. */
  @Override
  public Properties getDefaultProperties() {
    Properties found = new Properties();
    for (String name : System.getProperties().stringPropertyNames()) {
      if (name.startsWith(JCacheSettings.PREFIX) && !name.equals("larder.uri")) {
        found.put(name, System.getProperty(name));
      }
    }
    return found;
  }

  /** Forgets a manager that was closed. */
  void closed(LarderCacheManager manager, JCacheSettings settings) {
    lock.lock();
    try {
      Map<URI, LarderCacheManager> own = managers.get(manager.getClassLoader());
      if (own != null) {
        own.remove(manager.getURI(), manager);
        if (own.isEmpty()) {
          managers.remove(manager.getClassLoader());
        }
      }
    } finally {
      lock.unlock();
    }
    connections.release(settings);
  }

  private void close(BiPredicate<URI, ClassLoader> concerned) {
    List<LarderCacheManager> closing = new ArrayList<>();
    lock.lock();
    try {
      managers.forEach(
          (loader, own) ->
              own.forEach(
                  (uri, manager) -> {
                    if (concerned.test(uri, loader)) {
                      closing.add(manager);
                    }
                  }));
    } finally {
      lock.unlock();
    }
    closing.forEach(LarderCacheManager::close);
  }

  @Override
  public void close() {
    close((uri, loader) -> true);
  }

  @Override
  public void close(ClassLoader loader) {
    ClassLoader classes = loader == null ? getDefaultClassLoader() : loader;
    close((uri, owner) -> owner == classes);
  }

  @Override
  public void close(URI uri, ClassLoader loader) {
    URI name = uri == null ? getDefaultURI() : uri;
    ClassLoader classes = loader == null ? getDefaultClassLoader() : loader;
    close((other, owner) -> owner == classes && other.equals(name));
  }

  /** None: values are always stored by value. */
  @Override
  public boolean isSupported(OptionalFeature feature) {
    return false;
  }
}
