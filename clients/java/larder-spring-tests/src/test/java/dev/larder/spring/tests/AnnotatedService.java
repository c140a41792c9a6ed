package dev.larder.spring.tests;

import java.io.IOException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.springframework.cache.annotation.CacheEvict;
import org.springframework.cache.annotation.CachePut;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.cache.annotation.Caching;

/** Annotations of methods. */
public class AnnotatedService implements CacheableService {
  private final AtomicLong counter = new AtomicLong();
  private final AtomicInteger nulls = new AtomicInteger();

  @Override
  @Cacheable("testCache")
  public Long cache(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable("testCache")
  public Long cacheNull(Object arg) {
    return null;
  }

  @Override
  @Cacheable(cacheNames = "testCache", sync = true)
  public Long cacheSync(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheNames = "testCache", sync = true)
  public Long cacheSyncNull(Object arg) {
    return null;
  }

  @Override
  @CacheEvict(cacheNames = "testCache", key = "#p0")
  public void evict(Object arg, Object unused) {}

  @Override
  @CacheEvict(cacheNames = "testCache", beforeInvocation = true)
  public void evictEarly(Object arg) {
    throw new IllegalStateException("evictEarly");
  }

  @Override
  @CacheEvict("testCache")
  public void evictWithException(Object arg) {
    throw new IllegalStateException("evictWithException");
  }

  @Override
  @CacheEvict(cacheNames = "testCache", allEntries = true)
  public void evictAll(Object arg) {}

  @Override
  @CacheEvict(cacheNames = "testCache", allEntries = true, beforeInvocation = true)
  public void evictAllEarly(Object arg) {
    throw new IllegalStateException("evictAllEarly");
  }

  @Override
  @Cacheable(cacheNames = "testCache", condition = "#p0 == 3")
  public Long conditional(int arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheNames = "testCache", sync = true, condition = "#p0 == 3")
  public Long conditionalSync(int arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheNames = "testCache", unless = "#result > 10")
  public Long unless(int arg) {
    return (long) arg;
  }

  @Override
  @Cacheable(cacheNames = "testCache", key = "#p0")
  public Long key(Object arg, Object other) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable("testCache")
  public Long varArgsKey(Object... args) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable("testCache")
  public Long nullValue(Object arg) {
    nulls.incrementAndGet();
    return null;
  }

  @Override
  public int nullInvocations() {
    return nulls.get();
  }

  @Override
  @Cacheable(cacheNames = "testCache", key = "#root.methodName")
  public Long name(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(
      cacheNames = "testCache",
      key = "#root.methodName + #root.method.name + #root.targetClass + #root.target")
  public Long rootVars(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheNames = "testCache", keyGenerator = "customKeyGenerator")
  public Long customKeyGenerator(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheNames = "testCache", keyGenerator = "unknownBean")
  public Long unknownKeyGenerator(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheNames = "testCache", cacheManager = "customCacheManager")
  public Long customCacheManager(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable(cacheNames = "testCache", cacheManager = "unknownBean")
  public Long unknownCacheManager(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @Cacheable("testCache")
  public Long throwChecked(Object arg) throws IOException {
    throw new IOException(arg.toString());
  }

  @Override
  @Cacheable("testCache")
  public Long throwUnchecked(Object arg) {
    throw new UnsupportedOperationException(arg.toString());
  }

  @Override
  @Cacheable(cacheNames = "testCache", sync = true)
  public Long throwCheckedSync(Object arg) throws IOException {
    throw new IOException(arg.toString());
  }

  @Override
  @Cacheable(cacheNames = "testCache", sync = true)
  public Long throwUncheckedSync(Object arg) {
    throw new UnsupportedOperationException(arg.toString());
  }

  @Override
  @CachePut("testCache")
  public Long update(Object arg) {
    return counter.getAndIncrement();
  }

  @Override
  @CachePut(cacheNames = "testCache", condition = "#arg == 3")
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
