package dev.larder.jcache;

import java.lang.management.ManagementFactory;
import java.util.Set;
import javax.cache.CacheException;
import javax.cache.management.CacheMXBean;
import javax.management.InstanceAlreadyExistsException;
import javax.management.InstanceNotFoundException;
import javax.management.JMException;
import javax.management.MBeanServer;
import javax.management.ObjectName;

/** Puts the beans of caches into the platform's MBean server. */
final class CacheBeans {
  private CacheBeans() {}

  /** The facts of a configuration. */
  record Facts(CacheConfiguration<?, ?> configuration) implements CacheMXBean {
    @Override
    public String getKeyType() {
      return configuration.getKeyType().getName();
    }

    @Override
    public String getValueType() {
      return configuration.getValueType().getName();
    }

    @Override
    public boolean isReadThrough() {
      return configuration.isReadThrough();
    }

    @Override
    public boolean isWriteThrough() {
      return configuration.isWriteThrough();
    }

    @Override
    public boolean isStoreByValue() {
      return configuration.isStoreByValue();
    }

    @Override
    public boolean isStatisticsEnabled() {
      return configuration.isStatisticsEnabled();
    }

    @Override
    public boolean isManagementEnabled() {
      return configuration.isManagementEnabled();
    }
  }

  private static ObjectName name(String type, LarderCache<?, ?> cache) throws JMException {
    return new ObjectName(
        "javax.cache:type="
            + type
            + ",CacheManager="
            + safe(cache.getCacheManager().getURI().toString())
            + ",Cache="
            + safe(cache.getName()));
  }

  /** Without the characters that have a meaning in a name. */
  private static String safe(String text) {
    return text.replaceAll("[,:=\n*?\"]", ".");
  }

  static void configuration(LarderCache<?, ?> cache, boolean enabled) {
    register("CacheConfiguration", cache, new Facts(cache.configuration()), enabled);
  }

  static void statistics(LarderCache<?, ?> cache, CacheStatistics bean, boolean enabled) {
    register("CacheStatistics", cache, bean, enabled);
  }

  private static void register(
      String type, LarderCache<?, ?> cache, Object bean, boolean enabled) {
    MBeanServer server = ManagementFactory.getPlatformMBeanServer();
    try {
      ObjectName name = name(type, cache);
      Set<ObjectName> present = server.queryNames(name, null);
      if (enabled && present.isEmpty()) {
        server.registerMBean(bean, name);
      } else if (!enabled && !present.isEmpty()) {
        server.unregisterMBean(name);
      }
    } catch (InstanceAlreadyExistsException | InstanceNotFoundException raced) {
      // Another thread has done it.
      return;
    } catch (JMException error) {
      throw new CacheException("the bean of " + cache.getName() + ": " + error, error);
    }
  }
}
