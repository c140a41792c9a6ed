package dev.larder.spring.boot;

import dev.larder.client.LarderClient;
import dev.larder.spring.CacheCodecs;
import dev.larder.spring.LarderCacheConfiguration;
import dev.larder.spring.LarderCacheManager;
import dev.larder.spring.LarderCachingConfiguration;
import java.util.concurrent.Executor;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.beans.factory.annotation.Qualifier;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.boot.context.properties.bind.Bindable;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.cache.CacheManager;
import org.springframework.cache.interceptor.CacheAspectSupport;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.core.env.Environment;

/**
 * The caches of {@code @EnableCaching}, unless the program has a manager of its own, or chooses
 * another provider by {@code spring.cache.type}.
 */
@AutoConfiguration(
    after = LarderAutoConfiguration.class,
    beforeName = {
      "org.springframework.boot.autoconfigure.cache.CacheAutoConfiguration",
      "org.springframework.boot.cache.autoconfigure.CacheAutoConfiguration"
    })
@ConditionalOnBean(CacheAspectSupport.class)
@Import(LarderCachingConfiguration.class)
public class LarderCacheAutoConfiguration {
  /** Spring Boot has no such value of {@code spring.cache.type}: all that it has are others. */
  static final String CHOSEN = "larder";

  /** The manager, if no other is chosen. */
  @Configuration(proxyBeanMethods = false)
  @ConditionalOnBean(LarderClient.class)
  @ConditionalOnMissingBean(value = CacheManager.class, name = "cacheResolver")
  @ConditionalOnProperty(name = "larder.cache.enabled", matchIfMissing = true)
  @ConditionalOnProperty(
      name = "spring.cache.type",
      havingValue = LarderCacheAutoConfiguration.CHOSEN,
      matchIfMissing = true)
  @EnableConfigurationProperties(LarderCacheProperties.class)
  static class Manager {
    @Bean
    LarderCacheManager cacheManager(
        LarderClient client,
        LarderCacheProperties properties,
        Environment environment,
        ObjectProvider<CacheCodecs> codecs,
        @Qualifier("applicationTaskExecutor") ObjectProvider<Executor> executor,
        ObjectProvider<LarderCacheManagerBuilderCustomizer> customizers) {
      CacheCodecs json = codecs.getIfUnique(CacheCodecs::json);
      LarderCacheConfiguration defaults = properties.defaults(json);
      LarderCacheManager.Builder builder =
          LarderCacheManager.builder(client)
              .defaults(defaults)
              .dynamic(properties.dynamic())
              .transactionAware(properties.transactionAware());
      executor.ifAvailable(builder::executor);
      Binder.get(environment)
          .bind("spring.cache.cache-names", Bindable.listOf(String.class))
          .ifBound(names -> names.forEach(name -> builder.cache(name, defaults)));
      properties
          .caches()
          .keySet()
          .forEach(name -> builder.cache(name, properties.named(name, defaults, json)));
      customizers.orderedStream().forEach(customizer -> customizer.customize(builder));
      return builder.build();
    }
  }
}
