package dev.larder.spring;

import org.springframework.aop.Advisor;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.beans.factory.config.BeanDefinition;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.cache.interceptor.CacheInterceptor;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Role;
import org.springframework.core.Ordered;
import org.springframework.core.PriorityOrdered;

/**
 * Makes {@link CacheTags}, {@link CacheEvictTags} and the types of methods work under
 * {@code @EnableCaching}. Spring Boot imports it by itself; other programs import it with
 * {@code @Import}.
 */
@Configuration(proxyBeanMethods = false)
@Role(BeanDefinition.ROLE_INFRASTRUCTURE)
public class LarderCachingConfiguration {
  /** Replaces the interceptor of Spring before it is used. */
  @Bean
  @Role(BeanDefinition.ROLE_INFRASTRUCTURE)
  static Replacement larderCacheInterceptorPostProcessor(BeanFactory beans) {
    return new Replacement(beans, new TaggedMethods(new Expressions(beans)));
  }

  /** Runs {@link CacheEvictTags}. */
  @Bean
  @Role(BeanDefinition.ROLE_INFRASTRUCTURE)
  static Advisor larderEvictTagsAdvisor(BeanFactory beans) {
    return new EvictTagsAdvisor(new EvictTagsInterceptor(beans));
  }

  /** Ordered before what makes proxies, which needs the interceptor: Spring asks its class. */
  record Replacement(BeanFactory beans, TaggedMethods methods)
      implements BeanPostProcessor, PriorityOrdered {
    @Override
    public int getOrder() {
      return Ordered.LOWEST_PRECEDENCE;
    }

    @Override
    public Object postProcessBeforeInitialization(Object bean, String name) {
      if (bean.getClass() != CacheInterceptor.class) {
        return bean;
      }
      LarderCacheInterceptor ours = new LarderCacheInterceptor((CacheInterceptor) bean, methods);
      ours.setBeanFactory(beans);
      return ours;
    }
  }
}
