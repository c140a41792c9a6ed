package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.springframework.aop.support.AopUtils;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CachePut;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.cache.annotation.Caching;
import org.springframework.cache.interceptor.AbstractCacheResolver;
import org.springframework.cache.interceptor.CacheOperationInvocationContext;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.stereotype.Component;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Values of methods: the cases that Spring has had reports of, and their like. */
class ReturnTypesTest {
  private static final java.time.Duration LIMIT = java.time.Duration.ofSeconds(20);

  private AnnotationConfigApplicationContext context;

  @AfterEach
  void stop() {
    context.close();
  }

  private <B> B start(Class<B> bean) {
    context = Contexts.start(bean);
    return context.getBean(bean);
  }

  private Cache cache(String name) {
    return context.getBean(CacheManager.class).getCache(name);
  }

  /** A value of the program. */
  record Item(String name, int number) {}

  /** Each method computes another number at each call. */
  static class Counting {
    final AtomicInteger calls = new AtomicInteger();

    Item next(String name) {
      return new Item(name, calls.incrementAndGet());
    }
  }

  static class SeveralAnnotations {
    private final AtomicInteger single = new AtomicInteger();
    private final AtomicInteger multiple = new AtomicInteger();

    @Cacheable("smallCache")
    public List<String> single(int id) {
      single.incrementAndGet();
      return List.of();
    }

    @Caching(
        cacheable = {
          @Cacheable(cacheNames = "bigCache", unless = "#result.size() < 4"),
          @Cacheable(cacheNames = "smallCache", unless = "#result.size() > 3")
        })
    public List<String> multiple(int id) {
      multiple.incrementAndGet();
      return List.of();
    }

    public List<Integer> counts() {
      return List.of(single.get(), multiple.get());
    }
  }

  @Test
  void aResultGoesIntoTheCacheThatItFits() {
    SeveralAnnotations bean = start(SeveralAnnotations.class);
    bean.single(1);
    bean.single(1);
    bean.multiple(2);
    bean.multiple(2);
    assertEquals(List.of(1, 1), bean.counts());
    assertNull(cache("bigCache").get(2));
  }

  static class Varargs extends Counting {
    @Cacheable("items")
    public Item primitives(String name, int... values) {
      return next(name);
    }

    @Cacheable("items")
    public Item bytes(byte[] values) {
      return next("bytes");
    }
  }

  @Test
  void arraysAreKeys() {
    Varargs bean = start(Varargs.class);
    Item first = bean.primitives("op", 2, 3);
    assertEquals(first, bean.primitives("op", 2, 3));
    assertNotEquals(first, bean.primitives("op", 2, 4));
    Item bytes = bean.bytes(new byte[] {1, 2});
    assertEquals(bytes, bean.bytes(new byte[] {1, 2}));
    assertNotEquals(bytes, bean.bytes(new byte[] {1, 3}));
  }

  static class Never extends Counting {
    @Cacheable(cacheNames = "items", condition = "false")
    public Item never(String key) {
      return next(key);
    }
  }

  @Test
  void withoutTheConditionTheCacheIsNotAsked() {
    Never bean = start(Never.class);
    assertNotEquals(bean.never("1"), bean.never("1"));
    assertNull(cache("items").get("1"));
  }

  @Component("byArgument")
  static class ByArgument extends AbstractCacheResolver {
    ByArgument(CacheManager manager) {
      super(manager);
    }

    @Override
    protected Collection<String> getCacheNames(CacheOperationInvocationContext<?> context) {
      String name = (String) context.getArgs()[0];
      return name == null ? null : Set.of(name);
    }
  }

  @org.springframework.context.annotation.Import(ByArgument.class)
  static class Resolved extends Counting {
    @Cacheable(cacheResolver = "byArgument")
    public Item find(String name) {
      return next(name);
    }
  }

  @Test
  void aResolverChoosesTheCache() {
    Resolved bean = start(Resolved.class);
    Item first = bean.find("foo");
    assertEquals(first, bean.find("foo"));
    assertEquals(first, cache("foo").get("foo", Item.class));
    IllegalStateException error =
        assertThrows(IllegalStateException.class, () -> bean.find(null));
    assertTrue(error.getMessage().contains(ByArgument.class.getName()), error.getMessage());
  }

  static class Optionals extends Counting {
    @Cacheable("items")
    public Optional<Item> find(String id) {
      return id.equals("none") ? empty() : Optional.of(next(id));
    }

    @Cacheable(cacheNames = "items", sync = true)
    public Optional<Item> findOnce(String id) {
      return id.equals("none") ? empty() : Optional.of(next(id));
    }

    private Optional<Item> empty() {
      calls.incrementAndGet();
      return Optional.empty();
    }

    @CachePut(cacheNames = "items", key = "#item.name()")
    public Item insert(Item item) {
      return item;
    }

    public int count() {
      return calls.get();
    }
  }

  @Test
  void theContentOfAnOptionalIsCached() {
    Optionals bean = start(Optionals.class);
    Item given = bean.insert(new Item("a", -1));
    assertEquals(given, bean.find("a").get());
    assertEquals(given, bean.findOnce("a").get());
    assertEquals(given, cache("items").get("a", Item.class));
    assertEquals(0, bean.count());
    cache("items").clear();
    Item computed = bean.find("a").get();
    assertEquals(computed, bean.findOnce("a").get());
    cache("items").clear();
    computed = bean.findOnce("a").get();
    assertEquals(computed, bean.find("a").get());
    assertEquals(2, bean.count());
    assertFalse(bean.find("none").isPresent());
    assertFalse(bean.findOnce("none").isPresent());
    assertEquals(3, bean.count());
  }

  /** Annotations of an interface. */
  interface Items {
    @Cacheable(cacheNames = "items", sync = true)
    Optional<Item> find(String id);

    @CachePut(cacheNames = "items", key = "#a0.name()")
    Item insert(Item item);
  }

  static class ItemsBean extends Counting implements Items {
    @Override
    public Optional<Item> find(String id) {
      return Optional.of(next(id));
    }

    @Override
    public Item insert(Item item) {
      return item;
    }
  }

  @Test
  void annotationsOfInterfacesAreFound() {
    for (Class<?> config : List.of(Contexts.Plain.class, Contexts.Subclasses.class)) {
      context = Contexts.start(config, ItemsBean.class);
      Items bean = context.getBean(Items.class);
      assertEquals(config == Contexts.Subclasses.class, AopUtils.isCglibProxy(bean));
      Item given = bean.insert(new Item("a", -1));
      assertEquals(given, bean.find("a").get());
      assertEquals(given, cache("items").get("a", Item.class));
      context.close();
    }
  }

  static class Asynchronous extends Counting {
    @Cacheable("items")
    public CompletableFuture<Item> find(String id) {
      return id.equals("none") ? none() : CompletableFuture.completedFuture(next(id));
    }

    @Cacheable(cacheNames = "items", sync = true)
    public CompletableFuture<Item> findOnce(String id) {
      return id.equals("none") ? none() : CompletableFuture.supplyAsync(() -> next(id));
    }

    private CompletableFuture<Item> none() {
      calls.incrementAndGet();
      return CompletableFuture.completedFuture(null);
    }

    @Cacheable("items")
    public CompletableFuture<Item> fail(String id) {
      return CompletableFuture.failedFuture(new IOException(id));
    }

    @Cacheable(cacheNames = "items", sync = true)
    public CompletableFuture<Item> failOnce(String id) {
      return CompletableFuture.failedFuture(new IOException(id));
    }

    @Cacheable(cacheNames = "items", sync = true)
    public CompletableFuture<Item> throwOnce(String id) throws IOException {
      throw new IOException(id);
    }

    @CachePut(cacheNames = "items", key = "#item.name()")
    public CompletableFuture<Item> insert(Item item) {
      return CompletableFuture.completedFuture(item);
    }

    public int count() {
      return calls.get();
    }
  }

  private static <T> T value(CompletableFuture<T> future) throws Exception {
    return future.get(20, TimeUnit.SECONDS);
  }

  @Test
  void theResultOfAFutureIsCached() throws Exception {
    Asynchronous bean = start(Asynchronous.class);
    Item given = value(bean.insert(new Item("a", -1)));
    assertEquals(given, value(bean.find("a")));
    assertEquals(given, value(bean.findOnce("a")));
    assertEquals(given, cache("items").get("a", Item.class));
    cache("items").clear();
    assertEquals(value(bean.find("a")), value(bean.findOnce("a")));
    cache("items").clear();
    assertEquals(value(bean.findOnce("a")), value(bean.find("a")));
    assertEquals(2, bean.count());
    assertNull(value(bean.find("none")));
    assertNull(value(bean.findOnce("none")));
    assertNull(value(bean.find("none")));
    assertEquals(3, bean.count());
  }

  @Test
  void theErrorOfAFutureIsPassedOn() {
    Asynchronous bean = start(Asynchronous.class);
    for (CompletableFuture<Item> failed : List.of(bean.fail("x"), bean.failOnce("x"))) {
      ExecutionException error =
          assertThrows(ExecutionException.class, () -> value(failed));
      assertInstanceOf(IOException.class, error.getCause());
    }
    ExecutionException error =
        assertThrows(ExecutionException.class, () -> value(bean.throwOnce("x")));
    assertInstanceOf(IOException.class, error.getCause());
    assertNull(cache("items").get("x"));
  }

  static class Publishers extends Counting {
    @Cacheable("items")
    public Mono<Item> find(String id) {
      return id.equals("none") ? none() : Mono.fromSupplier(() -> next(id));
    }

    @Cacheable(cacheNames = "items", sync = true)
    public Mono<Item> findOnce(String id) {
      return id.equals("none") ? none() : Mono.fromSupplier(() -> next(id));
    }

    private Mono<Item> none() {
      return Mono.defer(
          () -> {
            calls.incrementAndGet();
            return Mono.empty();
          });
    }

    @Cacheable("lists")
    public Flux<Item> all(String id) {
      return Flux.defer(() -> Flux.just(next(id), next(id)));
    }

    @Cacheable(cacheNames = "lists", sync = true)
    public Flux<Item> allOnce(String id) {
      return Flux.defer(() -> Flux.just(next(id), next(id)));
    }

    @Cacheable(cacheNames = "items", sync = true)
    public Mono<Item> fail(String id) {
      return Mono.error(new IOException(id));
    }

    @CachePut(cacheNames = "items", key = "#item.name()")
    public Mono<Item> insert(Item item) {
      return Mono.just(item);
    }

    public int count() {
      return calls.get();
    }
  }

  @Test
  void theValueOfAMonoIsCached() {
    Publishers bean = start(Publishers.class);
    Item given = bean.insert(new Item("a", -1)).block(LIMIT);
    assertEquals(given, bean.find("a").block(LIMIT));
    assertEquals(given, bean.findOnce("a").block(LIMIT));
    cache("items").clear();
    assertEquals(bean.find("a").block(LIMIT), bean.findOnce("a").block(LIMIT));
    cache("items").clear();
    assertEquals(bean.findOnce("a").block(LIMIT), bean.find("a").block(LIMIT));
    assertEquals(2, bean.count());
    assertNull(bean.find("none").block(LIMIT));
    assertNull(bean.find("none").block(LIMIT));
    assertEquals(3, bean.count());
    Exception error = assertThrows(Exception.class, () -> bean.fail("x").block(LIMIT));
    assertInstanceOf(IOException.class, error.getCause());
  }

  @Test
  void theValuesOfAFluxAreCached() {
    Publishers bean = start(Publishers.class);
    List<Item> all = bean.all("a").collectList().block(LIMIT);
    assertEquals(List.of(new Item("a", 1), new Item("a", 2)), all);
    assertEquals(all, bean.all("a").collectList().block(LIMIT));
    assertEquals(all, bean.allOnce("a").collectList().block(LIMIT));
    cache("lists").clear();
    all = bean.allOnce("a").collectList().block(LIMIT);
    assertEquals(all, bean.all("a").collectList().block(LIMIT));
    assertEquals(4, bean.count());
  }
}
