package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.Codecs;
import dev.larder.client.LarderClient;
import dev.larder.spring.CacheTags;
import dev.larder.spring.LarderCache;
import dev.larder.spring.LarderCacheConfiguration;
import dev.larder.spring.LarderCacheManager;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CachePut;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Tags of what methods store. */
class TagsTest {
  private AnnotationConfigApplicationContext context;

  @AfterEach
  void stop() {
    context.close();
  }

  /** A value with tags of its own. */
  record User(String id, int team, List<String> labels) {}

  /** An annotation with another. */
  @CacheTags("'composed'")
  @Retention(RetentionPolicy.RUNTIME)
  @interface Composed {}

  /** Annotations of an interface. */
  interface Found {
    @Cacheable("users")
    @CacheTags("'interface'")
    User byInterface(String id);
  }

  static class Users implements Found {
    private final AtomicInteger calls = new AtomicInteger();

    private User user(String id) {
      return new User(id, 7, Arrays.asList("x", null, "y"));
    }

    @Cacheable("users")
    @CacheTags({"'team:' + #result.team()", "#result.labels()", "'all'"})
    public User find(String id) {
      calls.incrementAndGet();
      return user(id);
    }

    @Cacheable(cacheNames = "users", sync = true)
    @CacheTags("'team:' + #result.team()")
    public User findOnce(String id) {
      return user(id);
    }

    @CachePut("users")
    @CacheTags("'by:' + #id")
    public User update(String id) {
      return user(id);
    }

    @Cacheable("users")
    @CacheTags({"#p0", "#a0 + '!'", "#root.args[0] + '?'", "#root.methodName", "@names.tag()"})
    public User variables(String id) {
      return user(id);
    }

    @Cacheable("users")
    @CacheTags("#root.target.getClass().simpleName + #root.targetClass.simpleName")
    public User root(String id) {
      return user(id);
    }

    @Cacheable("users")
    @CacheTags({"#result?.team()", "'absent'"})
    public User none(String id) {
      return null;
    }

    @Cacheable("users")
    @CacheTags("'team:' + #result.team()")
    public Optional<User> optional(String id) {
      return Optional.of(user(id));
    }

    @Cacheable("users")
    @CacheTags("'team:' + #result.team()")
    public CompletableFuture<User> later(String id) {
      return CompletableFuture.supplyAsync(() -> user(id));
    }

    @Cacheable(cacheNames = "users", sync = true)
    @CacheTags("'team:' + #result.team()")
    public CompletableFuture<User> laterOnce(String id) {
      return CompletableFuture.supplyAsync(() -> user(id));
    }

    @Cacheable("users")
    @CacheTags("'team:' + #result.team()")
    public Mono<User> mono(String id) {
      return Mono.fromSupplier(() -> user(id));
    }

    @Cacheable(cacheNames = "users", sync = true)
    @CacheTags("#result.![id()]")
    public Flux<User> flux(String id) {
      return Flux.just(user("1"), user("2"));
    }

    @Cacheable("users")
    @Composed
    public User composed(String id) {
      return user(id);
    }

    @Override
    public User byInterface(String id) {
      return user(id);
    }

    @Cacheable("users")
    @CacheTags("#result.nothing")
    public User wrong(String id) {
      return user(id);
    }

    @Cacheable(cacheNames = "users", sync = true)
    @CacheTags("#result.nothing")
    public User wrongOnce(String id) {
      return user(id);
    }

    @Cacheable("users")
    @CacheTags("#result")
    public User noTag(String id) {
      return user(id);
    }

    @Cacheable("users")
    @CacheTags("''")
    public User emptyTag(String id) {
      return user(id);
    }

    @Cacheable(cacheNames = "users", cacheManager = "otherManager")
    @CacheTags("'other'")
    public User elsewhere(String id) {
      return user(id);
    }

    public int count() {
      return calls.get();
    }
  }

  /** A name for an expression. */
  public static class Names {
    public String tag() {
      return "of a bean";
    }
  }

  static class Beans {
    @Bean
    Names names() {
      return new Names();
    }

    @Bean(autowireCandidate = false)
    CacheManager otherManager(LarderClient client) {
      return LarderCacheManager.builder(client)
          .defaults(LarderCacheConfiguration.DEFAULTS.namespace("other").tags("fixed"))
          .build();
    }
  }

  private Users start() {
    context = Contexts.start(Contexts.Subclasses.class, Users.class, Beans.class);
    return context.getBean(Users.class);
  }

  private Set<String> tags(String key) {
    return Set.copyOf(Contexts.raw(context, "users", Codecs.auto(Object.class)).get(key).tags());
  }

  private LarderCache cache() {
    return (LarderCache) context.getBean("cacheManager", CacheManager.class).getCache("users");
  }

  @Test
  void tagsAreOfTheResult() {
    Users users = start();
    User first = users.find("a");
    assertEquals(Set.of("team:7", "x", "y", "all"), tags("a"));
    assertEquals(first, users.find("a"));
    assertEquals(1, users.count());
    cache().evictTags(List.of("team:8"));
    users.find("a");
    assertEquals(1, users.count());
    cache().evictTags(List.of("team:8", "team:7"));
    users.find("a");
    assertEquals(2, users.count());
    users.findOnce("b");
    assertEquals(Set.of("team:7"), tags("b"));
    users.update("c");
    assertEquals(Set.of("by:c"), tags("c"));
    users.optional("d");
    assertEquals(Set.of("team:7"), tags("d"));
  }

  @Test
  void expressionsHaveTheVariablesOfSpring() {
    Users users = start();
    users.variables("v");
    assertEquals(Set.of("v", "v!", "v?", "variables", "of a bean"), tags("v"));
    users.root("r");
    assertEquals(Set.of("UsersUsers"), tags("r"));
  }

  @Test
  void nullHasTags() {
    Users users = start();
    assertNull(users.none("n"));
    assertNotNull(cache().get("n"));
    assertEquals(Set.of("absent"), tags("n"));
  }

  @Test
  void tagsAreOfTheContentOfFuturesAndPublishers() throws Exception {
    Users users = start();
    users.later("a").get(20, TimeUnit.SECONDS);
    users.laterOnce("b").get(20, TimeUnit.SECONDS);
    users.mono("c").block(java.time.Duration.ofSeconds(20));
    users.flux("d").blockLast(java.time.Duration.ofSeconds(20));
    for (String key : List.of("a", "b", "c")) {
      assertEquals(Set.of("team:7"), tags(key), key);
    }
    assertEquals(Set.of("1", "2"), tags("d"));
  }

  @Test
  void annotationsAreFoundWhereThoseOfSpringAre() {
    Users users = start();
    users.composed("a");
    users.byInterface("b");
    assertEquals(Set.of("composed"), tags("a"));
    assertEquals(Set.of("interface"), tags("b"));
  }

  @CacheTags("'class'")
  static class Tagged {
    @Cacheable("users")
    public String one(String id) {
      return "one";
    }

    @Cacheable("users")
    @CacheTags("'method'")
    public String two(String id) {
      return "two";
    }
  }

  @Test
  void tagsOfAClassAreThoseOfItsMethods() {
    context = Contexts.start(Tagged.class);
    Tagged bean = context.getBean(Tagged.class);
    bean.one("a");
    bean.two("b");
    assertEquals(Set.of("class"), tags("a"));
    assertEquals(Set.of("class", "method"), tags("b"));
  }

  @Test
  void anExpressionThatFailsFailsTheCall() {
    Users users = start();
    IllegalStateException error =
        assertThrows(IllegalStateException.class, () -> users.wrong("w"));
    assertTrue(error.getMessage().contains("#result.nothing"), error.getMessage());
    assertTrue(error.getMessage().contains("Users.wrong"), error.getMessage());
    assertThrows(IllegalStateException.class, () -> users.wrongOnce("w"));
    assertThrows(IllegalStateException.class, () -> users.noTag("w"));
    assertThrows(IllegalStateException.class, () -> users.emptyTag("w"));
    assertNull(cache().get("w"));
  }

  @Test
  void anOperationWithAManagerOfItsOwnHasTagsAndTypes() {
    Users users = start();
    User first = users.elsewhere("e");
    assertEquals(first, users.elsewhere("e"));
    assertEquals(
        Set.of("fixed", "other"),
        Set.copyOf(
            Contexts.raw(context, "other", Codecs.auto(Object.class)).get("e").tags()));
    assertNotEquals(Set.of("other"), tags("e"));
  }

  @Test
  void programsCanTagAndEvict() {
    start();
    cache().withTags("one").withTags("two").put("k", "v");
    assertEquals(Set.of("one", "two"), tags("k"));
    assertEquals("v", cache().withTags("three").get("l", () -> "v"));
    assertEquals(Set.of("three"), tags("l"));
    assertNull(cache().withTags("four").putIfAbsent("m", "v"));
    assertEquals(Set.of("four"), tags("m"));
    LarderCacheManager manager = context.getBean("cacheManager", LarderCacheManager.class);
    manager.evictTags("users", List.of("one"));
    manager.evictTags("users", List.of());
    assertNull(cache().get("k"));
    assertNotNull(cache().get("l"));
  }
}
