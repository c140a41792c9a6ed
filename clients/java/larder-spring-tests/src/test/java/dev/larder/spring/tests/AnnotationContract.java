package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.larder.client.LarderClient;
import dev.larder.spring.LarderCacheConfiguration;
import dev.larder.spring.LarderCacheManager;
import dev.larder.spring.LarderCachingConfiguration;
import dev.larder.spring.tests.CacheableService.Entity;
import java.io.IOException;
import java.util.Arrays;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.aop.framework.AopProxyUtils;
import org.springframework.beans.factory.NoSuchBeanDefinitionException;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CachingConfigurer;
import org.springframework.cache.annotation.EnableCaching;
import org.springframework.cache.interceptor.KeyGenerator;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;

/** The annotations of Spring, without Spring Boot: all that Spring checks of them. */
abstract class AnnotationContract {
  private AnnotationConfigApplicationContext context;
  private CacheableService service;
  private Cache testCache;
  private Cache primary;
  private Cache secondary;

  /** The bean under test. */
  abstract Class<? extends CacheableService> serviceType();

  /** The key of the method {@code name}. */
  abstract String nameKey();

  @Configuration
  @EnableCaching
  @Import(LarderCachingConfiguration.class)
  static class Config implements CachingConfigurer {
    @Bean
    LarderClient larderClient() {
      return TestServer.client(TestServer.target())
          .namespacePrefix(TestServer.fresh("t"))
          .build();
    }

    @Bean
    @Override
    public CacheManager cacheManager() {
      return LarderCacheManager.builder(larderClient())
          .cache("testCache", LarderCacheConfiguration.DEFAULTS)
          .cache("primary", LarderCacheConfiguration.DEFAULTS)
          .cache("secondary", LarderCacheConfiguration.DEFAULTS)
          .dynamic(false)
          .build();
    }

    @Bean
    CacheManager customCacheManager() {
      return LarderCacheManager.builder(larderClient())
          .defaults(LarderCacheConfiguration.DEFAULTS.namespace("custom"))
          .build();
    }

    @Bean
    KeyGenerator customKeyGenerator() {
      return (target, method, params) -> method.getName() + Arrays.toString(params);
    }
  }

  @BeforeEach
  void start() {
    context = new AnnotationConfigApplicationContext(Config.class, serviceType());
    service = context.getBean(CacheableService.class);
    CacheManager manager = context.getBean("cacheManager", CacheManager.class);
    assertEquals(Set.of("testCache", "primary", "secondary"), Set.copyOf(manager.getCacheNames()));
    assertNull(manager.getCache("unknown"));
    testCache = manager.getCache("testCache");
    primary = manager.getCache("primary");
    secondary = manager.getCache("secondary");
  }

  @AfterEach
  void stop() {
    context.close();
  }

  private static String arg() {
    return UUID.randomUUID().toString();
  }

  private static Object longOf(Cache cache, Object key) {
    return cache.get(key, Long.class);
  }

  @Test
  void aResultIsCached() {
    String arg = arg();
    Long first = service.cache(arg);
    assertEquals(first, service.cache(arg));
    assertEquals(first, service.cache(arg));
    assertNotEquals(first, service.cache(arg()));
  }

  @Test
  void nullIsCached() {
    String arg = arg();
    assertNull(testCache.get(arg));
    assertNull(service.cacheNull(arg));
    assertNull(service.cacheNull(arg));
    assertNotNull(testCache.get(arg));
    assertNull(testCache.get(arg).get());
  }

  @Test
  void aSynchronizedResultIsCached() {
    String arg = arg();
    Long first = service.cacheSync(arg);
    assertEquals(first, service.cacheSync(arg));
    assertEquals(first, longOf(testCache, arg));
  }

  @Test
  void aSynchronizedNullIsCached() {
    String arg = arg();
    assertNull(testCache.get(arg));
    assertNull(service.cacheSyncNull(arg));
    assertNull(service.cacheSyncNull(arg));
    assertNull(testCache.get(arg).get());
  }

  @Test
  void anEvictedResultIsComputedAgain() {
    String arg = arg();
    testCache.putIfAbsent(arg, -1L);
    Long first = service.cache(arg);
    assertEquals(-1L, first);
    service.evict(arg, null);
    assertNull(testCache.get(arg));
    assertNotEquals(first, service.cache(arg));
  }

  @Test
  void anEarlyEvictionIsDoneAlthoughTheMethodFails() {
    String arg = arg();
    Long first = service.cache(arg);
    assertThrows(IllegalStateException.class, () -> service.evictEarly(arg));
    assertNull(testCache.get(arg));
    assertNotEquals(first, service.cache(arg));
  }

  @Test
  void anEvictionIsNotDoneIfTheMethodFails() {
    String arg = arg();
    Long first = service.cache(arg);
    assertThrows(IllegalStateException.class, () -> service.evictWithException(arg));
    assertEquals(first, service.cache(arg));
  }

  @Test
  void allEntriesAreEvicted() {
    String one = arg();
    String two = arg();
    testCache.putIfAbsent(one, -1L);
    testCache.putIfAbsent(two, -2L);
    assertNotEquals(service.cache(one), service.cache(two));
    service.evictAll(arg());
    assertNull(testCache.get(one));
    assertNull(testCache.get(two));
    assertNotEquals(-1L, service.cache(one));
    assertNotEquals(-2L, service.cache(two));
  }

  @Test
  void allEntriesAreEvictedEarly() {
    String one = arg();
    String two = arg();
    testCache.putIfAbsent(one, -1L);
    testCache.putIfAbsent(two, -2L);
    assertThrows(IllegalStateException.class, () -> service.evictAllEarly(arg()));
    assertNull(testCache.get(one));
    assertNull(testCache.get(two));
  }

  @Test
  void aConditionDecidesWhetherToCache() {
    assertNotEquals(service.conditional(4), service.conditional(4));
    assertEquals(service.conditional(3), service.conditional(3));
    testCache.clear();
    assertNotEquals(service.conditionalSync(4), service.conditionalSync(4));
    assertEquals(service.conditionalSync(3), service.conditionalSync(3));
  }

  @Test
  void aResultDecidesWhetherItIsCached() {
    service.unless(10);
    service.unless(11);
    assertEquals(10L, longOf(testCache, 10));
    assertNull(testCache.get(11));
  }

  @Test
  void aKeyIsComputed() {
    assertEquals(service.key(5, 1), service.key(5, 2));
    assertNotEquals(service.key(1, 5), service.key(2, 5));
  }

  @Test
  void severalArgumentsAreAKey() {
    Long all = service.varArgsKey(1, 2, 3);
    assertEquals(all, service.varArgsKey(1, 2, 3));
    assertNotEquals(all, service.varArgsKey(1, 2));
    assertNotEquals(all, service.varArgsKey("1", 2, 3));
    assertNotEquals(service.varArgsKey("a,b", "c"), service.varArgsKey("a", "b,c"));
    assertNotEquals(service.varArgsKey(), service.varArgsKey(""));
  }

  @Test
  void nullIsComputedOnce() {
    String arg = arg();
    int before = service.nullInvocations();
    assertNull(service.nullValue(arg));
    assertNull(service.nullValue(arg));
    assertEquals(before + 1, service.nullInvocations());
    assertNull(service.nullValue(arg()));
    assertEquals(before + 2, service.nullInvocations());
  }

  @Test
  void theNameOfTheMethodIsAKey() {
    Long first = service.name(arg());
    assertEquals(first, service.name(arg()));
    assertEquals(first, longOf(testCache, nameKey()));
  }

  @Test
  void theCallIsAKey() {
    Long first = service.rootVars(arg());
    assertEquals(first, service.rootVars(arg()));
    String key =
        "rootVarsrootVars" + AopProxyUtils.ultimateTargetClass(service) + service;
    assertEquals(first, longOf(testCache, key));
  }

  @Test
  void aKeyGeneratorIsUsed() {
    String arg = arg();
    Long first = service.customKeyGenerator(arg);
    assertEquals(first, service.customKeyGenerator(arg));
    assertEquals(first, longOf(testCache, "customKeyGenerator[" + arg + "]"));
  }

  @Test
  void unknownBeansAreRefused() {
    assertThrows(
        NoSuchBeanDefinitionException.class, () -> service.unknownKeyGenerator(arg()));
    assertThrows(
        NoSuchBeanDefinitionException.class, () -> service.unknownCacheManager(arg()));
  }

  @Test
  void anotherManagerIsUsed() {
    String arg = arg();
    Long first = service.customCacheManager(arg);
    assertEquals(first, service.customCacheManager(arg));
    CacheManager custom = context.getBean("customCacheManager", CacheManager.class);
    assertEquals(first, longOf(custom.getCache("testCache"), arg));
    assertNull(testCache.get(arg));
  }

  @Test
  void anArgumentCanBeNull() {
    Long first = service.cache(null);
    assertEquals(first, service.cache(null));
    assertNotEquals(first, service.cache("null"));
  }

  @Test
  void errorsOfMethodsArePassedOn() {
    String arg = arg();
    assertEquals(
        arg, assertThrows(IOException.class, () -> service.throwChecked(arg)).getMessage());
    assertEquals(
        arg, assertThrows(IOException.class, () -> service.throwCheckedSync(arg)).getMessage());
    assertEquals(
        "1",
        assertThrows(UnsupportedOperationException.class, () -> service.throwUnchecked(1L))
            .getMessage());
    assertEquals(
        "1",
        assertThrows(UnsupportedOperationException.class, () -> service.throwUncheckedSync(1L))
            .getMessage());
    assertNull(testCache.get(arg));
  }

  @Test
  void anUpdateIsCached() {
    for (int round = 0; round < 2; round++) {
      String arg = arg();
      assertNull(testCache.get(arg));
      Long first = service.update(arg);
      assertEquals(first, longOf(testCache, arg));
      Long second = service.update(arg);
      assertNotEquals(first, second);
      assertEquals(second, longOf(testCache, arg));
    }
  }

  @Test
  void aConditionDecidesWhetherToUpdate() {
    assertEquals(1, service.conditionalUpdate(1));
    assertNull(testCache.get(1));
    assertEquals(3, service.conditionalUpdate(3));
    assertEquals(3, testCache.get(3).get());
  }

  @Test
  void aResultIsInSeveralCaches() {
    for (int round = 0; round < 2; round++) {
      String arg = arg();
      assertNull(primary.get(arg));
      assertNull(secondary.get(arg));
      Long first = service.multiCache(arg);
      assertEquals(first, longOf(primary, arg));
      assertEquals(first, longOf(secondary, arg));
      assertEquals(first, service.multiCache(arg));
    }
  }

  @Test
  void severalEntriesAreEvicted() {
    String arg = arg();
    String other = arg + "A";
    Long first = service.multiCache(arg);
    primary.put(other, other);
    service.multiEvict(arg);
    assertNull(primary.get(arg));
    assertNull(secondary.get(arg));
    assertNull(primary.get(other));
    Long second = service.multiCache(arg);
    assertNotEquals(first, second);
    assertEquals(second, longOf(primary, arg));
    assertEquals(second, longOf(secondary, arg));
  }

  @Test
  void severalEntriesAreUpdated() {
    for (Object arg : new Object[] {1, 2}) {
      assertNull(primary.get(arg));
      assertNull(secondary.get(arg));
      Long value = service.multiUpdate(arg);
      assertEquals(value, longOf(primary, arg));
      assertEquals(value, longOf(secondary, arg));
    }
  }

  @Test
  void aKeyCanBeOfTheResult() {
    assertNull(primary.get(Long.MIN_VALUE));
    Entity stored = service.putRefersToResult(new Entity(null, "name"));
    assertEquals(new Entity(Long.MIN_VALUE, "name"), stored);
    assertEquals(stored, primary.get(Long.MIN_VALUE, Entity.class));
  }

  @Test
  void oneCacheIsReadAndAnotherEvicted() {
    secondary.put(1, 1);
    Long first = service.multiCacheAndEvict(1);
    assertEquals(first, service.multiCacheAndEvict(1));
    assertEquals(first, longOf(primary, "multiCacheAndEvict"));
    assertNull(secondary.get("multiCacheAndEvict"));
    assertNull(secondary.get(1));
  }

  @Test
  void oneCacheIsReadOnAConditionAndAnotherEvicted() {
    secondary.put(1, 1);
    assertEquals(1, secondary.get(1).get());
    assertNotEquals(
        service.multiConditionalCacheAndEvict(1), service.multiConditionalCacheAndEvict(1));
    assertNull(primary.get(1));
    Long first = service.multiConditionalCacheAndEvict(3);
    assertEquals(first, service.multiConditionalCacheAndEvict(3));
    assertEquals(first, longOf(primary, 3));
    assertNull(secondary.get(3));
  }
}
