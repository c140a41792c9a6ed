package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.Namespace;
import dev.larder.client.Result;
import dev.larder.client.Tier;
import dev.larder.spring.CacheEvictTags;
import dev.larder.spring.CacheTags;
import dev.larder.spring.LarderCache;
import dev.larder.spring.LarderCacheManager;
import dev.larder.spring.boot.LarderAutoConfiguration;
import dev.larder.spring.boot.LarderCacheAutoConfiguration;
import dev.larder.spring.boot.LarderCacheManagerBuilderCustomizer;
import dev.larder.spring.boot.LarderCacheProperties;
import dev.larder.spring.boot.LarderClientBuilderCustomizer;
import dev.larder.spring.boot.LarderProperties;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.springframework.boot.SpringBootVersion;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.cache.annotation.EnableCaching;
import org.springframework.cache.concurrent.ConcurrentMapCacheManager;
import org.springframework.cache.transaction.TransactionAwareCacheDecorator;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.core.task.TaskDecorator;

/** Programs with Spring Boot, which configure all of it by properties. */
class BootTest {
  /** A value of the program. */
  record User(String id, int number) {}

  static class Users {
    private final AtomicInteger calls = new AtomicInteger();

    @Cacheable("users")
    @CacheTags("'team:' + #id")
    public User find(String id) {
      return new User(id, calls.incrementAndGet());
    }

    @CacheEvictTags(cacheNames = "users", tags = "'team:' + #id")
    public void evict(String id) {}

    @Cacheable("later")
    public CompletableFuture<String> thread(String id) {
      return CompletableFuture.completedFuture(Thread.currentThread().getName());
    }
  }

  @Configuration
  @EnableAutoConfiguration
  @EnableCaching
  @Import(Users.class)
  static class App {}

  @Configuration
  @EnableAutoConfiguration
  static class WithoutCaching {}

  @Configuration
  @EnableCaching
  static class Caching {}

  @Configuration
  static class OwnManager {
    @Bean
    CacheManager maps() {
      return new ConcurrentMapCacheManager();
    }
  }

  @Configuration
  static class OwnClient {
    @Bean
    LarderClient own() {
      return LarderClient.builder().target(TestServer.target()).build();
    }
  }

  @Configuration
  static class Customized {
    final List<String> order = new ArrayList<>();

    @Bean
    LarderClientBuilderCustomizer client() {
      return builder -> {
        order.add("client");
        builder.namespacePrefix("customized.");
      };
    }

    @Bean
    LarderCacheManagerBuilderCustomizer caches() {
      return builder -> {
        order.add("caches");
        builder.cache("added", builder.defaults().ttl(Duration.ofSeconds(7)));
      };
    }
  }

  private static ConfigurableApplicationContext start(
      Map<String, Object> properties, Class<?>... sources) {
    Map<String, Object> all = new HashMap<>(TestServer.properties(TestServer.target()));
    all.put("larder.namespace-prefix", TestServer.fresh("b"));
    all.put("spring.main.banner-mode", "off");
    all.put("spring.jmx.enabled", "false");
    all.putAll(properties);
    return new SpringApplicationBuilder(sources)
        .web(WebApplicationType.NONE)
        .properties(all)
        .run();
  }

  private static LarderCacheManager manager(ConfigurableApplicationContext context) {
    return assertInstanceOf(LarderCacheManager.class, context.getBean(CacheManager.class));
  }

  private static Result<Object> raw(
      ConfigurableApplicationContext context, String namespace, String key) {
    LarderClient client = context.getBean(LarderClient.class);
    return client
        .namespace(namespace, Object.class)
        .get(key);
  }

  @Test
  void theVersionIsTheOneUnderTest() {
    String expected = System.getProperty("spring-boot.version");
    if (expected != null) {
      assertEquals(expected, SpringBootVersion.getVersion());
    }
  }

  @Test
  void nothingButTheTargetIsNeeded() {
    try (ConfigurableApplicationContext context = start(Map.of(), App.class)) {
      Users users = context.getBean(Users.class);
      User first = users.find("a");
      assertEquals(first, users.find("a"));
      assertEquals(List.of("team:a"), raw(context, "users", "a").tags());
      users.evict("a");
      assertEquals(2, users.find("a").number());
      assertTrue(manager(context).getCacheNames().contains("users"));
      assertFalse(manager(context).isTransactionAware());
    }
  }

  @Test
  void propertiesAreThoseOfCaches() {
    Map<String, Object> properties = new HashMap<>();
    properties.put("larder.cache.ttl", "10m");
    properties.put("larder.cache.tags", "app");
    properties.put("larder.cache.dynamic", "false");
    properties.put("larder.cache.transaction-aware", "true");
    properties.put("larder.cache.null-values", "false");
    properties.put("larder.cache.caches.users.namespace", "people");
    properties.put("larder.cache.caches.users.ttl", "90s");
    properties.put("larder.cache.caches.users.tags", "one,two");
    properties.put("larder.cache.caches.users.null-values", "true");
    properties.put("larder.cache.caches.users.type", User.class.getName());
    properties.put("larder.cache.caches.lists.type", "java.util.List<java.lang.Long>");
    properties.put("larder.cache.caches.forever.ttl", "forever");
    properties.put("larder.cache.secret", "a secret of the fleet");
    properties.put("larder.cache.caches.objects.codec", "serialized");
    properties.put("larder.cache.caches.[a.b].ttl", "5s");
    properties.put("spring.cache.cache-names", "plain,users");
    try (ConfigurableApplicationContext context = start(properties, App.class)) {
      LarderCacheManager manager = manager(context);
      assertEquals(
          Set.of("users", "lists", "forever", "objects", "a.b", "plain"),
          Set.copyOf(manager.getCacheNames()));
      assertNull(manager.getCache("other"));
      assertTrue(manager.isTransactionAware());
      Cache users = assertInstanceOf(
          TransactionAwareCacheDecorator.class, manager.getCache("users"));
      users.put("a", new User("a", 1));
      assertEquals(new User("a", 1), users.get("a").get());
      users.put("null", null);
      assertNotNull(users.get("null"));
      Result<Object> stored = raw(context, "people", "a");
      assertEquals(List.of("one", "two"), stored.tags());
      assertBetween(60, 90, stored);
      Cache lists = manager.getCache("lists");
      assertThrows(IllegalArgumentException.class, () -> lists.put("n", null));
      lists.put("a", List.of(1L));
      assertEquals(List.of(1L), lists.get("a").get());
      assertEquals(List.of("app"), raw(context, "lists", "a").tags());
      assertBetween(570, 600, raw(context, "lists", "a"));
      manager.getCache("forever").put("a", 1);
      assertBetween(86_400, Long.MAX_VALUE, raw(context, "forever", "a"));
      manager.getCache("objects").put("a", Map.of(1, 2));
      assertEquals(Map.of(1, 2), manager.getCache("objects").get("a").get());
      assertInstanceOf(byte[].class, raw(context, "objects", "a").value());
    }
  }

  private static void assertBetween(long low, long high, Result<?> stored) {
    long seconds = stored.ttlRemaining().orElseThrow().toSeconds();
    assertTrue(low <= seconds && seconds <= high, seconds + " s");
  }

  @Test
  void wrongPropertiesAreRefusedByName() {
    assertRefused("larder.cache.ttl", "0s", "larder.cache.ttl: must be positive");
    assertRefused("larder.cache.ttl", "soon", "larder.cache.ttl");
    assertRefused(
        "larder.cache.caches.a.type", "no.such.Type", "larder.cache.caches.a.type");
    assertRefused("larder.cache.codec", "serialized", "larder.cache.secret");
    assertRefused("larder.tls.cert-file", "/x", "larder.tls.key-file");
    assertRefused("larder.preset", "fast", "larder.preset");
    assertRefused("larder.cache.near-cache.max-entries", "none", "max-entries");
  }

  private static void assertRefused(String name, String value, String message) {
    new ApplicationContextRunner()
        .withConfiguration(
            AutoConfigurations.of(
                LarderAutoConfiguration.class, LarderCacheAutoConfiguration.class))
        .withUserConfiguration(Caching.class)
        .withPropertyValues(name + "=" + value)
        .run(
            context -> {
              Throwable error = context.getStartupFailure();
              assertNotNull(error, name);
              StringBuilder all = new StringBuilder();
              for (; error != null; error = error.getCause()) {
                all.append(error.getMessage()).append('\n');
              }
              assertTrue(all.toString().contains(message), all.toString());
            });
  }

  @Test
  void propertiesAreThoseOfTheClient() {
    Map<String, Object> properties = new HashMap<>();
    properties.put("larder.target", "127.0.0.1:1");
    properties.put("larder.preset", "low-latency");
    properties.put("larder.on-error", "raise");
    properties.put("larder.timeout.call", "200ms");
    properties.put("larder.timeout.connect", "300ms");
    properties.put("larder.timeout.waiting", "1s");
    properties.put("larder.timeout.wait-margin", "100ms");
    properties.put("larder.connection.keepalive", "20s");
    properties.put("larder.connection.keepalive-timeout", "5s");
    properties.put("larder.connection.max-idle", "1m");
    properties.put("larder.token", "a-secret-token");
    properties.put("larder.cache.secret", "a-secret-of-the-values");
    properties.put("larder.schema-version", "v2");
    properties.put("larder.background", "2");
    properties.put("larder.telemetry", "false");
    try (ConfigurableApplicationContext context = start(properties, App.class)) {
      Users users = context.getBean(Users.class);
      assertThrows(LarderException.class, () -> users.find("a"));
      String printed =
          context.getBean(LarderProperties.class)
              + context.getBean(LarderCacheProperties.class).toString();
      assertFalse(printed.contains("a-secret"), printed);
    }
  }

  @Test
  void withoutCachingThereIsAClientOnly() {
    try (ConfigurableApplicationContext context = start(Map.of(), WithoutCaching.class)) {
      assertNotNull(context.getBean(LarderClient.class));
      assertTrue(context.getBeansOfType(CacheManager.class).isEmpty());
    }
  }

  @Test
  void theProgramCanChooseAnother() {
    try (ConfigurableApplicationContext context =
        start(Map.of("spring.cache.type", "simple"), App.class)) {
      assertInstanceOf(ConcurrentMapCacheManager.class, context.getBean(CacheManager.class));
      Users users = context.getBean(Users.class);
      assertSame(users.find("a"), users.find("a"));
      users.evict("a");
      assertEquals(2, users.find("a").number());
    }
    try (ConfigurableApplicationContext context =
        start(Map.of("spring.cache.type", "none"), App.class)) {
      Users users = context.getBean(Users.class);
      assertEquals(1, users.find("a").number());
      assertEquals(2, users.find("a").number());
      users.evict("a");
    }
    try (ConfigurableApplicationContext context =
        start(Map.of("larder.cache.enabled", "false"), App.class)) {
      assertFalse(context.getBean(CacheManager.class) instanceof LarderCacheManager);
    }
    try (ConfigurableApplicationContext context =
        start(Map.of(), App.class, OwnManager.class)) {
      assertInstanceOf(ConcurrentMapCacheManager.class, context.getBean(CacheManager.class));
    }
  }

  @Test
  void theProgramCanHaveItsOwnClient() {
    try (ConfigurableApplicationContext context =
        start(Map.of("larder.target", "127.0.0.1:1"), App.class, OwnClient.class)) {
      assertEquals(1, context.getBeansOfType(LarderClient.class).size());
      LarderCache cache = manager(context).cache(TestServer.fresh("own"));
      cache.put("a", 1);
      assertEquals(1, cache.get("a").get());
    }
  }

  @Test
  void customizersComeAfterProperties() {
    try (ConfigurableApplicationContext context =
        start(Map.of("larder.cache.ttl", "1h"), App.class, Customized.class)) {
      assertEquals(List.of("client", "caches"), context.getBean(Customized.class).order);
      LarderCache added = manager(context).cache("added");
      Namespace<?> namespace = (Namespace<?>) added.getNativeCache();
      assertEquals("customized.added", namespace.wireName());
      added.put("k", 1);
      assertBetween(1, 7, raw(context, "added", "k"));
    }
  }

  /** Holds the tasks of the program's executor. */
  @Configuration
  static class Held {
    final CountDownLatch release = new CountDownLatch(1);

    @Bean
    TaskDecorator decorator() {
      return task ->
          () -> {
            try {
              assertTrue(release.await(20, TimeUnit.SECONDS), "the caller does not go on");
            } catch (InterruptedException error) {
              throw new IllegalStateException(error);
            }
            task.run();
          };
    }
  }

  @Test
  void futuresAreCompletedByTheExecutorOfTheProgram() throws Exception {
    try (ConfigurableApplicationContext context = start(Map.of(), App.class, Held.class)) {
      Users users = context.getBean(Users.class);
      // An answer that is there before it is looked at is gone on with by the caller: once more.
      CompletableFuture<String> thread = users.thread("0");
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      for (int id = 1; thread.isDone(); id++) {
        assertEquals(Thread.currentThread().getName(), thread.get());
        assertTrue(System.nanoTime() < deadline, "all answers come before they are looked at");
        thread = users.thread(Integer.toString(id));
      }
      context.getBean(Held.class).release.countDown();
      String name = thread.get(20, TimeUnit.SECONDS);
      assertTrue(name.startsWith("task-"), name);
    }
  }

  @Test
  void lazyInitializationChangesNothing() {
    try (ConfigurableApplicationContext context =
        start(Map.of("spring.main.lazy-initialization", "true"), App.class)) {
      Users users = context.getBean(Users.class);
      assertEquals(users.find("a"), users.find("a"));
      assertEquals(List.of("team:a"), raw(context, "users", "a").tags());
    }
  }

  @Test
  void aNearCacheAnswersInTheProcess() throws Exception {
    Map<String, Object> near =
        Map.of(
            "larder.namespace-prefix", TestServer.fresh("n"),
            "larder.cache.near-cache.enabled", "true",
            "larder.cache.near-cache.max-size", "1MB",
            "larder.cache.near-cache.max-entries", "100");
    try (ConfigurableApplicationContext one = start(near, App.class);
        ConfigurableApplicationContext two = start(near, App.class)) {
      Users users = one.getBean(Users.class);
      User first = users.find("a");
      Namespace<?> namespace = (Namespace<?>) manager(one).cache("users").getNativeCache();
      LarderClient client = one.getBean(LarderClient.class);
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      while (client.counters().get(namespace.wireName()).get("near_hits") == 0) {
        assertTrue(System.nanoTime() < deadline, "no hit of the near cache");
        assertEquals(first, users.find("a"));
        Thread.onSpinWait();
      }
      two.getBean(Users.class).evict("a");
      while (users.find("a").equals(first)) {
        assertTrue(System.nanoTime() < deadline, "the change does not come");
        Thread.onSpinWait();
      }
      assertEquals(Tier.STORE, raw(one, "users", "a").tier().orElseThrow());
    }
  }
}
