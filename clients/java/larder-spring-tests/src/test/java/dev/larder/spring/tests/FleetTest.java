package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import dev.larder.client.UnavailableException;
import dev.larder.spring.CacheEvictTags;
import dev.larder.spring.CacheTags;
import dev.larder.spring.LarderCache;
import dev.larder.testing.LarderServer;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.slf4j.LoggerFactory;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CacheEvict;
import org.springframework.cache.annotation.CachePut;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.cache.annotation.CachingConfigurer;
import org.springframework.cache.interceptor.CacheErrorHandler;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import reactor.core.publisher.Mono;

/** Several processes with one cache, and a cache that is away. */
class FleetTest {
  private static final AtomicInteger LOADS = new AtomicInteger();
  private static volatile CountDownLatch callers;

  /** A method that many call at once. */
  static class Reports {
    @Cacheable(cacheNames = "reports", sync = true)
    public Integer report(String name) throws InterruptedException {
      assertTrue(callers.await(20, TimeUnit.SECONDS));
      return LOADS.incrementAndGet();
    }

    @Cacheable(cacheNames = "reports", sync = true)
    @CacheTags("'report'")
    public CompletableFuture<Integer> reportLater(String name) {
      LOADS.incrementAndGet();
      return CompletableFuture.supplyAsync(
          () -> {
            try {
              assertTrue(callers.await(20, TimeUnit.SECONDS));
            } catch (InterruptedException error) {
              throw new IllegalStateException(error);
            }
            return LOADS.incrementAndGet();
          });
    }
  }

  private static List<Integer> together(List<Callable<Integer>> calls) throws Exception {
    ExecutorService executor = Executors.newFixedThreadPool(calls.size());
    try {
      List<Integer> results = new ArrayList<>();
      for (Future<Integer> one : executor.invokeAll(calls, 30, TimeUnit.SECONDS)) {
        results.add(one.get());
      }
      return results;
    } finally {
      executor.shutdownNow();
    }
  }

  @Test
  void ofAllProcessesOneComputes() throws Exception {
    Contexts.Where where = Contexts.Where.fresh();
    try (AnnotationConfigApplicationContext one = Contexts.start(where, Reports.class);
        AnnotationConfigApplicationContext two = Contexts.start(where, Reports.class)) {
      LOADS.set(0);
      callers = new CountDownLatch(20);
      List<Callable<Integer>> calls = new ArrayList<>();
      for (int call = 0; call < 20; call++) {
        Reports bean = (call % 2 == 0 ? one : two).getBean(Reports.class);
        calls.add(
            () -> {
              callers.countDown();
              return bean.report("daily");
            });
      }
      assertEquals(Set.of(1), new HashSet<>(together(calls)));
      assertEquals(1, LOADS.get());
    }
  }

  @Test
  void ofAllProcessesOneComputesAFuture() throws Exception {
    Contexts.Where where = Contexts.Where.fresh();
    try (AnnotationConfigApplicationContext one = Contexts.start(where, Reports.class);
        AnnotationConfigApplicationContext two = Contexts.start(where, Reports.class)) {
      LOADS.set(0);
      callers = new CountDownLatch(1);
      List<CompletableFuture<Integer>> all = new ArrayList<>();
      for (int call = 0; call < 20; call++) {
        Reports bean = (call % 2 == 0 ? one : two).getBean(Reports.class);
        all.add(bean.reportLater("daily"));
      }
      callers.countDown();
      for (CompletableFuture<Integer> each : all) {
        assertEquals(2, each.get(30, TimeUnit.SECONDS));
      }
      assertEquals(2, LOADS.get());
    }
  }

  @Test
  void anEvictionDuringAComputationIsFinal() throws Exception {
    Contexts.Where where = Contexts.Where.fresh();
    try (AnnotationConfigApplicationContext one = Contexts.start(where, Reports.class);
        AnnotationConfigApplicationContext two = Contexts.start(where, Reports.class)) {
      Cache cache = two.getBean(CacheManager.class).getCache("reports");
      List<Runnable> evictions =
          List.of(
              () -> cache.evict("daily"),
              cache::clear,
              () -> ((LarderCache) cache).evictTags(List.of("report")));
      for (Runnable eviction : evictions) {
        LOADS.set(0);
        callers = new CountDownLatch(1);
        CompletableFuture<Integer> computed = one.getBean(Reports.class).reportLater("daily");
        while (LOADS.get() == 0) {
          Thread.onSpinWait();
        }
        eviction.run();
        callers.countDown();
        assertEquals(2, computed.get(20, TimeUnit.SECONDS));
        assertNull(cache.get("daily"));
      }
    }
  }

  /** Methods with all annotations. */
  static class Users {
    private final AtomicInteger calls = new AtomicInteger();

    @Cacheable("users")
    public Integer find(String id) {
      return calls.incrementAndGet();
    }

    @Cacheable(cacheNames = "users", sync = true)
    public Integer findOnce(String id) {
      return calls.incrementAndGet();
    }

    @Cacheable("users")
    public CompletableFuture<Integer> findLater(String id) {
      return CompletableFuture.completedFuture(calls.incrementAndGet());
    }

    @Cacheable(cacheNames = "users", sync = true)
    public Mono<Integer> findMono(String id) {
      return Mono.fromSupplier(calls::incrementAndGet);
    }

    @CachePut("users")
    public Integer update(String id) {
      return calls.incrementAndGet();
    }

    @CacheEvict("users")
    public void remove(String id) {}

    @CacheEvict(cacheNames = "users", allEntries = true)
    public void removeAll() {}

    @CacheEvictTags(cacheNames = "users", tags = "'team:' + #team")
    public void removeTeam(int team) {}

    @CacheEvictTags(cacheNames = "users", tags = "'team:' + #team")
    public CompletableFuture<String> removeTeamLater(int team) {
      return CompletableFuture.completedFuture("done");
    }
  }

  @Test
  void withoutTheCacheMethodsRunAndEvictionsThrow() throws Exception {
    LarderServer server = TestServer.another();
    Contexts.Where where = new Contexts.Where(server.target(), "outage");
    ListAppender<ILoggingEvent> log = new ListAppender<>();
    log.start();
    Logger logger = (Logger) LoggerFactory.getLogger(LarderCache.class);
    logger.addAppender(log);
    try (AnnotationConfigApplicationContext context = Contexts.start(where, Users.class)) {
      Users users = context.getBean(Users.class);
      LarderCache cache =
          (LarderCache) context.getBean(CacheManager.class).getCache("users");
      assertEquals(1, users.find("a"));
      assertEquals(1, users.find("a"));
      server.close();
      assertEquals(2, users.find("a"));
      assertEquals(3, users.findOnce("a"));
      assertEquals(4, users.findLater("a").get(20, TimeUnit.SECONDS));
      assertEquals(5, users.findMono("a").block(java.time.Duration.ofSeconds(20)));
      assertEquals(6, users.update("a"));
      assertNull(cache.get("a"));
      assertNull(cache.putIfAbsent("a", 7));
      assertNull(cache.retrieve("a").get(20, TimeUnit.SECONDS));
      assertEquals("own", cache.get("a", () -> "own"));
      assertThrows(UnavailableException.class, () -> users.remove("a"));
      assertThrows(UnavailableException.class, users::removeAll);
      assertThrows(UnavailableException.class, () -> users.removeTeam(1));
      ExecutionException error =
          assertThrows(
              ExecutionException.class,
              () -> users.removeTeamLater(1).get(20, TimeUnit.SECONDS));
      assertInstanceOf(UnavailableException.class, error.getCause());
      assertThrows(UnavailableException.class, () -> cache.evictIfPresent("a"));
      assertThrows(UnavailableException.class, cache::invalidate);
      List<String> warnings =
          log.list.stream()
              .filter(event -> event.getLevel() == Level.WARN)
              .map(ILoggingEvent::getFormattedMessage)
              .toList();
      assertEquals(1, warnings.size(), warnings.toString());
      assertTrue(
          warnings.get(0).startsWith("cache users, key a: a read goes on without the cache"),
          warnings.get(0));
    } finally {
      logger.detachAppender(log);
      server.close();
    }
  }

  /** Keeps the errors of the cache, and goes on. */
  static class Errors implements CachingConfigurer, CacheErrorHandler {
    final List<String> seen = new ArrayList<>();

    @Override
    public CacheErrorHandler errorHandler() {
      return this;
    }

    @Override
    public void handleCacheGetError(RuntimeException error, Cache cache, Object key) {
      seen.add("get");
    }

    @Override
    public void handleCachePutError(
        RuntimeException error, Cache cache, Object key, Object value) {
      seen.add("put");
    }

    @Override
    public void handleCacheEvictError(RuntimeException error, Cache cache, Object key) {
      seen.add("evict " + error.getClass().getSimpleName());
    }

    @Override
    public void handleCacheClearError(RuntimeException error, Cache cache) {
      seen.add("clear " + error.getClass().getSimpleName());
    }
  }

  @Test
  void theErrorHandlerOfTheProgramDecidesAboutEvictions() throws Exception {
    LarderServer server = TestServer.another();
    Contexts.Where where = new Contexts.Where(server.target(), "handler");
    try (AnnotationConfigApplicationContext context =
        Contexts.start(where, Users.class, Errors.class)) {
      Users users = context.getBean(Users.class);
      server.close();
      assertEquals(1, users.find("a"));
      assertEquals(2, users.findOnce("a"));
      users.remove("a");
      users.removeAll();
      users.removeTeam(1);
      assertEquals("done", users.removeTeamLater(1).get(20, TimeUnit.SECONDS));
      String clear = "clear UnavailableException";
      assertEquals(
          List.of("evict UnavailableException", clear, clear, clear),
          context.getBean(Errors.class).seen);
    } finally {
      server.close();
    }
  }
}
