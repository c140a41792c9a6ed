package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.spring.CacheEvictTags;
import dev.larder.spring.LarderCache;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.util.List;
import java.util.Optional;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.beans.factory.annotation.Qualifier;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CacheConfig;
import org.springframework.cache.concurrent.ConcurrentMapCache;
import org.springframework.cache.concurrent.ConcurrentMapCacheManager;
import org.springframework.cache.support.CompositeCacheManager;
import org.springframework.cache.support.SimpleCacheManager;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Methods that evict by tag. */
class EvictTagsTest {
  private AnnotationConfigApplicationContext context;
  private Teams teams;
  private LarderCache users;
  private LarderCache groups;

  /** A team. */
  record Team(int id) {}

  /** An annotation with another. */
  @CacheEvictTags(cacheNames = "users", tags = "'t1'")
  @Retention(RetentionPolicy.RUNTIME)
  @interface Composed {}

  /** Annotations of an interface. */
  interface Removal {
    @CacheEvictTags(cacheNames = "users", tags = "'t' + #p0")
    void byInterface(int id);
  }

  @CacheConfig(cacheNames = {"users", "groups"})
  static class Teams implements Removal {
    final AtomicReference<Cache> seen = new AtomicReference<>();

    @CacheEvictTags(cacheNames = "users", tags = "'t' + #id")
    public void remove(int id) {}

    @CacheEvictTags(tags = {"'t' + #id", "'t2'"})
    public void removeEverywhere(int id) {}

    @CacheEvictTags(cacheNames = "users", tags = "'t' + #result.id()")
    public Team result() {
      return new Team(1);
    }

    @CacheEvictTags(cacheNames = "users", tags = "'t' + #result.id()")
    public Optional<Team> optional() {
      return Optional.of(new Team(1));
    }

    @CacheEvictTags(cacheNames = "users", tags = "'t1'", condition = "#id == 3")
    public void conditional(int id) {}

    @CacheEvictTags(cacheNames = "users", tags = "'t1'", condition = "#result != null")
    public Team ofResult(Team team) {
      return team;
    }

    @CacheEvictTags(cacheNames = "users", tags = "'t1'")
    public void failing() {
      throw new IllegalStateException("own");
    }

    @CacheEvictTags(cacheNames = "users", tags = "'t1'", beforeInvocation = true)
    public void early() {
      throw new IllegalStateException("own");
    }

    @CacheEvictTags(cacheNames = "users", tags = "'t1'")
    @CacheEvictTags(cacheNames = "groups", tags = "'t2'")
    public void several() {}

    @CacheEvictTags(cacheNames = "users", tags = "'t' + #result.id()")
    public CompletableFuture<Team> later(boolean fail) {
      return fail
          ? CompletableFuture.failedFuture(new IllegalStateException("own"))
          : CompletableFuture.completedFuture(new Team(1));
    }

    @CacheEvictTags(cacheNames = "users", tags = "'t' + #result?.id()")
    public Mono<Team> mono(boolean empty) {
      return empty ? Mono.empty() : Mono.just(new Team(1));
    }

    @CacheEvictTags(cacheNames = "users", tags = "'t1'")
    public Flux<Team> flux() {
      return Flux.just(new Team(1), new Team(2));
    }

    @Composed
    public void composed() {}

    @Override
    public void byInterface(int id) {}

    @CacheEvictTags(cacheNames = "users", tags = "#root.nothing")
    public void wrong() {}

    @CacheEvictTags(cacheNames = "elsewhere", tags = "'t1'", cacheManager = "maps")
    public void elsewhere() {}

    @CacheEvictTags(
        cacheNames = {"users", "elsewhere"},
        tags = "'t1'",
        cacheManager = "composite")
    public void inAny() {}

    @CacheEvictTags(
        cacheNames = {"broken", "elsewhere"},
        tags = "'t1'",
        cacheManager = "composite")
    public void brokenAndElsewhere() {}
  }

  /** A cache that cannot be cleared. */
  private static final class BrokenCache extends ConcurrentMapCache {
    BrokenCache() {
      super("broken");
    }

    @Override
    public void clear() {
      throw new UnsupportedOperationException("on purpose");
    }
  }

  static class Beans {
    @Bean(autowireCandidate = false)
    CacheManager maps() {
      return new ConcurrentMapCacheManager("elsewhere");
    }

    @Bean(autowireCandidate = false)
    CacheManager composite(
        @Qualifier("cacheManager") CacheManager larder, ConfigurableApplicationContext context) {
      SimpleCacheManager broken = new SimpleCacheManager();
      broken.setCaches(List.of(new BrokenCache()));
      broken.initializeCaches();
      return new CompositeCacheManager(
          broken, context.getBean("maps", CacheManager.class), larder);
    }
  }

  @BeforeEach
  void start() {
    context = Contexts.start(Contexts.Subclasses.class, Teams.class, Beans.class);
    teams = context.getBean(Teams.class);
    CacheManager manager = context.getBean("cacheManager", CacheManager.class);
    users = (LarderCache) manager.getCache("users");
    groups = (LarderCache) manager.getCache("groups");
    fill();
  }

  private void fill() {
    for (LarderCache cache : List.of(users, groups)) {
      cache.withTags("t1").put("one", 1);
      cache.withTags("t2").put("two", 2);
      cache.withTags("t3").put("three", 3);
    }
  }

  @AfterEach
  void stop() {
    context.close();
  }

  /** The keys that a cache has. */
  private static List<String> keys(Cache cache) {
    TreeSet<String> keys = new TreeSet<>();
    for (String key : List.of("one", "two", "three")) {
      if (cache.get(key) != null) {
        keys.add(key);
      }
    }
    return List.copyOf(keys);
  }

  private void assertEvicted() {
    assertEquals(List.of("three", "two"), keys(users));
    assertEquals(List.of("one", "three", "two"), keys(groups));
    fill();
  }

  private void assertNotEvicted() {
    assertEquals(List.of("one", "three", "two"), keys(users));
  }

  @Test
  void entriesWithATagAreEvicted() {
    teams.remove(9);
    assertNotEvicted();
    teams.remove(1);
    assertEvicted();
    teams.result();
    assertEvicted();
    teams.optional();
    assertEvicted();
    teams.composed();
    assertEvicted();
    teams.byInterface(1);
    assertEvicted();
  }

  @Test
  void theCachesOfTheClassAreTheDefault() {
    teams.removeEverywhere(3);
    assertEquals(List.of("one"), keys(users));
    assertEquals(List.of("one"), keys(groups));
  }

  @Test
  void severalAnnotationsAreAllDone() {
    teams.several();
    assertEquals(List.of("three", "two"), keys(users));
    assertEquals(List.of("one", "three"), keys(groups));
  }

  @Test
  void aConditionDecides() {
    teams.conditional(4);
    teams.ofResult(null);
    assertNotEvicted();
    teams.conditional(3);
    assertEvicted();
    teams.ofResult(new Team(1));
    assertEvicted();
  }

  @Test
  void aMethodThatFailsEvictsNothingUnlessItIsEarly() {
    assertThrows(IllegalStateException.class, teams::failing);
    assertNotEvicted();
    assertThrows(IllegalStateException.class, teams::early);
    assertEvicted();
  }

  @Test
  void evictionsFollowFuturesAndPublishers() throws Exception {
    assertThrows(CompletionException.class, () -> teams.later(true).join());
    assertNotEvicted();
    assertEquals(new Team(1), teams.later(false).get(20, TimeUnit.SECONDS));
    assertEvicted();
    Mono<Team> mono = teams.mono(false);
    assertNotEvicted();
    assertEquals(new Team(1), mono.block(java.time.Duration.ofSeconds(20)));
    assertEvicted();
    assertNull(teams.mono(true).block(java.time.Duration.ofSeconds(20)));
    assertNotEvicted();
    assertEquals(2, teams.flux().collectList().block(java.time.Duration.ofSeconds(20)).size());
    assertEvicted();
  }

  @Test
  void anExpressionThatFailsFailsTheCall() {
    IllegalStateException error = assertThrows(IllegalStateException.class, teams::wrong);
    assertTrue(error.getMessage().contains("#root.nothing"), error.getMessage());
  }

  @Test
  void aCacheOfAnotherProviderIsCleared() {
    Cache other = context.getBean("maps", CacheManager.class).getCache("elsewhere");
    other.put("k", "v");
    assertNotNull(other.get("k"));
    teams.elsewhere();
    assertNull(other.get("k"));
  }

  @Test
  void tagsAreOfTheCachesBehindAnotherManager() {
    Cache other = context.getBean("maps", CacheManager.class).getCache("elsewhere");
    other.put("k", "v");
    teams.inAny();
    assertEvicted();
    assertNull(other.get("k"));
  }

  @Test
  void oneCacheThatFailsDoesNotKeepTheOthers() {
    Cache other = context.getBean("maps", CacheManager.class).getCache("elsewhere");
    other.put("k", "v");
    assertThrows(UnsupportedOperationException.class, teams::brokenAndElsewhere);
    assertNull(other.get("k"));
  }

  static class Nameless {
    @CacheEvictTags(tags = "'t1'")
    public void remove() {}
  }

  @Test
  void anAnnotationWithoutACacheIsRefusedAtTheStart() {
    Exception error = assertThrows(Exception.class, () -> Contexts.start(Nameless.class));
    Throwable cause = error;
    while (cause.getCause() != null) {
      cause = cause.getCause();
    }
    assertTrue(cause.getMessage().contains("no cacheNames"), cause.getMessage());
  }
}
