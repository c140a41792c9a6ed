package dev.larder.spring;

import java.lang.reflect.Method;
import org.springframework.aop.Pointcut;
import org.springframework.aop.support.AbstractPointcutAdvisor;
import org.springframework.aop.support.StaticMethodMatcherPointcut;
import org.springframework.core.Ordered;
import org.springframework.core.annotation.AnnotationUtils;

/** Methods with {@link CacheEvictTags}, and what runs around them. */
final class EvictTagsAdvisor extends AbstractPointcutAdvisor {
  private static final long serialVersionUID = 1L;

  private final transient EvictTagsInterceptor interceptor;
  private final transient Pointcut pointcut;

  EvictTagsAdvisor(EvictTagsInterceptor interceptor) {
    this.interceptor = interceptor;
    // Around the transaction of the method, which is committed before.
    setOrder(Ordered.LOWEST_PRECEDENCE - 1);
    StaticMethodMatcherPointcut annotated =
        new StaticMethodMatcherPointcut() {
          @Override
          public boolean matches(Method method, Class<?> targetClass) {
            return !interceptor.evictions(method, targetClass).isEmpty();
          }
        };
    annotated.setClassFilter(type -> AnnotationUtils.isCandidateClass(type, CacheEvictTags.class));
    pointcut = annotated;
  }

  @Override
  public Pointcut getPointcut() {
    return pointcut;
  }

  @Override
  public EvictTagsInterceptor getAdvice() {
    return interceptor;
  }
}
