package dev.larder.spring.boot;

import dev.larder.spring.LarderCache;
import dev.larder.spring.LarderCacheManager;
import dev.larder.spring.LarderCacheMetrics;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.Map;
import java.util.function.BiConsumer;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.beans.factory.SmartInitializingSingleton;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.util.StringUtils;

/** The meters of caches, also of those that are made after the start. */
@AutoConfiguration(
    after = LarderCacheAutoConfiguration.class,
    beforeName = {
      "org.springframework.boot.actuate.autoconfigure.metrics.cache.CacheMetricsAutoConfiguration",
      "org.springframework.boot.cache.autoconfigure.metrics.CacheMetricsAutoConfiguration"
    })
@ConditionalOnClass(MeterBinder.class)
@ConditionalOnBean(LarderCacheManager.class)
public class LarderMetricsAutoConfiguration {

  /** Binds each cache with the tag that Spring Boot gives those of the start. */
  private static void bindAll(
      Map<String, LarderCacheManager> managers, BiConsumer<LarderCache, Tag> bind) {
    managers.forEach(
        (bean, manager) -> {
          Tag tag = Tag.of("cache.manager", tagValue(bean));
          manager.onCache(cache -> bind.accept(cache, tag));
        });
  }

  private static String tagValue(String bean) {
    String suffix = "cacheManager";
    boolean shortened =
        bean.length() > suffix.length() && StringUtils.endsWithIgnoreCase(bean, suffix);
    return shortened ? bean.substring(0, bean.length() - suffix.length()) : bean;
  }

  /** Spring Boot 3. */
  @Configuration(proxyBeanMethods = false)
  @ConditionalOnClass(
      name = "org.springframework.boot.actuate.metrics.cache.CacheMeterBinderProvider")
  static class Boot3 {
    @Bean
    org.springframework.boot.actuate.metrics.cache.CacheMeterBinderProvider<LarderCache>
        larderCacheMeterBinderProvider() {
      return LarderCacheMetrics::new;
    }

    @Bean
    SmartInitializingSingleton larderCacheMeters(
        Map<String, LarderCacheManager> managers,
        ObjectProvider<org.springframework.boot.actuate.metrics.cache.CacheMetricsRegistrar>
            registrar) {
      return () ->
          registrar.ifAvailable(
              found -> bindAll(managers, (cache, tag) -> found.bindCacheToRegistry(cache, tag)));
    }
  }

  /** Spring Boot 4. */
  @Configuration(proxyBeanMethods = false)
  @ConditionalOnClass(name = "org.springframework.boot.cache.metrics.CacheMeterBinderProvider")
  static class Boot4 {
    @Bean
    org.springframework.boot.cache.metrics.CacheMeterBinderProvider<LarderCache>
        larderCacheMeterBinderProvider() {
      return LarderCacheMetrics::new;
    }

    @Bean
    SmartInitializingSingleton larderCacheMeters(
        Map<String, LarderCacheManager> managers,
        ObjectProvider<org.springframework.boot.cache.metrics.CacheMetricsRegistrar> registrar) {
      return () ->
          registrar.ifAvailable(
              found -> bindAll(managers, (cache, tag) -> found.bindCacheToRegistry(cache, tag)));
    }
  }
}
