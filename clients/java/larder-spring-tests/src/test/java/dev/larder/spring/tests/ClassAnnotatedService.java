package dev.larder.spring.tests;

import java.io.IOException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.springframework.cache.annotation.CacheConfig;
import org.springframework.cache.annotation.CacheEvict;
import org.springframework.cache.annotation.CachePut;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.cache.annotation.Caching;

/** An annotation of the class, which annotations of methods replace. */
@Cacheable
@CacheConfig(cacheNames = "testCache")
public class ClassAnnotatedService implements CacheableService {
  private static final AtomicInteger NULLS = new AtomicInteger();

  private final AtomicLong counter = new AtomicLong();

  @Override
  public Long cache(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  public Long cacheNull(Object arg) {
    return null;
  }

  @Override
  @Cacheable(sync = true)
  public Long cacheSync(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(sync = true)
  public Long cacheSyncNull(Object arg) {
    return null;
  }

  @Override
  @CacheEvict(key = "#p0")
  public void evict(Object arg, Object unused) {}

  @Override
  @CacheEvict(beforeInvocation = true)
  public void evictEarly(Object arg) {
    throw new IllegalStateException("evictEarly");
  }

  @Override
  @CacheEvict
  public void evictWithException(Object arg) {
    throw new IllegalStateException("evictWithException");
  }

  @Override
  @CacheEvict(allEntries = true)
  public void evictAll(Object arg) {}

  @Override
  @CacheEvict(allEntries = true, beforeInvocation = true)
  public void evictAllEarly(Object arg) {
    throw new IllegalStateException("evictAllEarly");
  }

  @Override
  @Cacheable(condition = "#p0 == 3")
  public Long conditional(int arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(sync = true, condition = "#p0 == 3")
  public Long conditionalSync(int arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(unless = "#result > 10")
  public Long unless(int arg) {
    return (long) arg;
  }

  @Override
  @Cacheable(key = "#p0")
  public Long key(Object arg, Object other) {
    return counter.getAndIncrement();
  }

  @Override
  public Long varArgsKey(Object... args) {
    return counter.getAndIncrement();
  }

  @Override
  public Long nullValue(Object arg) {
    NULLS.incrementAndGet();
    return null;
  }

  @Override
  @Cacheable(condition = "false")
  public int nullInvocations() {
    return NULLS.get();
  }

  @Override
  @Cacheable(key = "#root.methodName + #root.caches[0].name")
  public Long name(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(key = "#root.methodName + #root.method.name + #root.targetClass + #root.target")
  public Long rootVars(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(keyGenerator = "customKeyGenerator")
  public Long customKeyGenerator(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(keyGenerator = "unknownBean")
  public Long unknownKeyGenerator(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheManager = "customCacheManager")
  public Long customCacheManager(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheManager = "unknownBean")
  public Long unknownCacheManager(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  public Long throwChecked(Object arg) throws IOException {
    throw new IOException(arg.toString());
  }

  @Override
  public Long throwUnchecked(Object arg) {
    throw new UnsupportedOperationException(arg.toString());
  }

  @Override
  @Cacheable(sync = true)
  public Long throwCheckedSync(Object arg) throws IOException {
    throw new IOException(arg.toString());
  }

  @Override
  @Cacheable(sync = true)
  public Long throwUncheckedSync(Object arg) {
    throw new UnsupportedOperationException(arg.toString());
  }

  @Override
  @CachePut
  public Long update(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @CachePut(condition = "#arg == 3")
  public Integer conditionalUpdate(int arg) {
    return arg;
  }

  @Override
  @Caching(cacheable = {@Cacheable("primary"), @Cacheable("secondary")})
  public Long multiCache(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Caching(
      evict = {
        @CacheEvict("primary"),
        @CacheEvict(cacheNames = "secondary", key = "#p0"),
        @CacheEvict(cacheNames = "primary", key = "#p0 + 'A'")
      })
  public Long multiEvict(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Caching(put = {@CachePut("primary"), @CachePut("secondary")})
  public Long multiUpdate(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @CachePut(cacheNames = "primary", key = "#result.id()")
  public Entity putRefersToResult(Entity entity) {
    return new Entity(Long.MIN_VALUE, entity.name());
  }

  @Override
  @Caching(
      cacheable = @Cacheable(cacheNames = "primary", key = "#root.methodName"),
      evict = @CacheEvict("secondary"))
  public Long multiCacheAndEvict(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Caching(
      cacheable = @Cacheable(cacheNames = "primary", condition = "#p0 == 3"),
      evict = @CacheEvict("secondary"))
  public Long multiConditionalCacheAndEvict(Object arg) {
    return counter.getAndIncrement();
  }
}
