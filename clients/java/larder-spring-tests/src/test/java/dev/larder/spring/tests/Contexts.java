package dev.larder.spring.tests;

import dev.larder.client.Codec;
import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.spring.LarderCacheManager;
import dev.larder.spring.LarderCachingConfiguration;
import java.util.ArrayList;
import java.util.List;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.EnableCaching;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;

/** Application contexts without Spring Boot, each with a client of its own. */
final class Contexts {
  private Contexts() {}

  /** Caches of the server of all tests, below a prefix. */
  @Configuration
  @EnableCaching
  @Import(LarderCachingConfiguration.class)
  static class Plain {
    @Bean
    LarderClient larderClient(Where where) {
      return TestServer.client(where.target()).namespacePrefix(where.prefix()).build();
    }

    @Bean
    CacheManager cacheManager(LarderClient client) {
      return LarderCacheManager.builder(client).build();
    }
  }

  /** As {@link Plain}, with proxies that are subclasses. */
  @Configuration
  @EnableCaching(proxyTargetClass = true)
  @Import(LarderCachingConfiguration.class)
  static class Subclasses extends Plain {}

  /** A server, and what is put before the names of its namespaces. */
  record Where(String target, String prefix) {
    static Where fresh() {
      return new Where(TestServer.target(), TestServer.fresh("c"));
    }
  }

  /** A context with these beans. */
  static AnnotationConfigApplicationContext start(Class<?>... beans) {
    return start(Where.fresh(), beans);
  }

  /** A context with these beans, in one place. */
  static AnnotationConfigApplicationContext start(Where where, Class<?>... beans) {
    AnnotationConfigApplicationContext context = new AnnotationConfigApplicationContext();
    context.registerBean(Where.class, () -> where);
    List<Class<?>> all = new ArrayList<>(List.of(beans));
    if (all.stream().noneMatch(bean -> bean.isAnnotationPresent(EnableCaching.class))) {
      all.add(Plain.class);
    }
    context.register(all.toArray(Class<?>[]::new));
    context.refresh();
    return context;
  }

  /** A handle of the client of a context, to see entries as they are stored. */
  static <V> Namespace<V> raw(
      AnnotationConfigApplicationContext context, String cache, Codec<V> codec) {
    return context
        .getBean(LarderClient.class)
        .namespace(cache, codec, NamespaceOptions.DEFAULTS);
  }
}
