package dev.larder.spring;

import java.util.Collection;
import org.springframework.cache.Cache;
import org.springframework.cache.interceptor.CacheInterceptor;
import org.springframework.cache.interceptor.CacheOperation;
import org.springframework.cache.interceptor.CacheOperationInvocationContext;
import org.springframework.cache.interceptor.CacheResolver;

/** The interceptor of Spring; the caches of a call have the type and the tags of its method. */
final class LarderCacheInterceptor extends CacheInterceptor {
  private static final long serialVersionUID = 1L;

  private final transient TaggedMethods methods;

  /** One with the settings of another, which are read when they are needed. */
  LarderCacheInterceptor(CacheInterceptor settings, TaggedMethods methods) {
    this.methods = methods;
    setCacheOperationSource(settings.getCacheOperationSource());
    configure(
        settings::getErrorHandler, settings::getKeyGenerator, settings::getCacheResolver, null);
  }

  @Override
  protected Collection<? extends Cache> getCaches(
      CacheOperationInvocationContext<CacheOperation> context, CacheResolver cacheResolver) {
    return super.getCaches(context, cacheResolver).stream()
        .map(
            cache ->
                methods.bind(
                    cache, context.getMethod(), context.getTarget(), context.getArgs()))
        .toList();
  }
}
