package dev.larder.spring;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import org.aopalliance.intercept.MethodInterceptor;
import org.aopalliance.intercept.MethodInvocation;
import org.springframework.aop.framework.AopProxyUtils;
import org.springframework.aop.support.AopUtils;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CacheConfig;
import org.springframework.cache.interceptor.CacheInterceptor;
import org.springframework.context.expression.AnnotatedElementKey;
import org.springframework.core.ReactiveAdapter;
import org.springframework.core.ReactiveAdapterRegistry;
import org.springframework.core.annotation.MergedAnnotation;
import org.springframework.core.annotation.MergedAnnotations;
import org.springframework.core.annotation.MergedAnnotations.SearchStrategy;
import org.springframework.util.ClassUtils;
import org.springframework.util.ObjectUtils;

/** Evicts by tag around methods with {@link CacheEvictTags}. */
final class EvictTagsInterceptor implements MethodInterceptor {
  private static final boolean REACTOR =
      ClassUtils.isPresent(
          "reactor.core.publisher.Flux", EvictTagsInterceptor.class.getClassLoader());

  private final Map<AnnotatedElementKey, List<Eviction>> known = new ConcurrentHashMap<>();
  private final Expressions expressions;
  private final BeanFactory beans;

  EvictTagsInterceptor(BeanFactory beans) {
    this.beans = beans;
    this.expressions = new Expressions(beans);
  }

  /** One annotation of a method. */
  record Eviction(
      List<String> caches, List<String> tags, String condition, boolean before, String manager) {}

  /** The annotations of a method. */
  List<Eviction> evictions(Method method, Class<?> targetClass) {
    return known.computeIfAbsent(
        new AnnotatedElementKey(method, targetClass), key -> read(method, targetClass));
  }

  private static List<Eviction> read(Method method, Class<?> targetClass) {
    Method specific = AopUtils.getMostSpecificMethod(method, targetClass);
    List<Eviction> evictions = new ArrayList<>();
    MergedAnnotations.from(specific, SearchStrategy.TYPE_HIERARCHY)
        .stream(CacheEvictTags.class)
        .forEach(annotation -> evictions.add(eviction(annotation, specific, targetClass)));
    return List.copyOf(evictions);
  }

  private static Eviction eviction(
      MergedAnnotation<CacheEvictTags> annotation, Method method, Class<?> targetClass) {
    MergedAnnotation<CacheConfig> shared =
        MergedAnnotations.from(targetClass, SearchStrategy.TYPE_HIERARCHY).get(CacheConfig.class);
    String[] caches = annotation.getStringArray("cacheNames");
    if (caches.length == 0 && shared.isPresent()) {
      caches = shared.getStringArray("cacheNames");
    }
    if (caches.length == 0) {
      throw new IllegalStateException(
          "@CacheEvictTags of " + method + ": no cacheNames, and no @CacheConfig has them");
    }
    String manager = annotation.getString("cacheManager");
    if (manager.isEmpty() && shared.isPresent()) {
      manager = shared.getString("cacheManager");
    }
    return new Eviction(
        List.of(caches),
        List.of(annotation.getStringArray("tags")),
        annotation.getString("condition"),
        annotation.getBoolean("beforeInvocation"),
        manager);
  }

  @Override
  public Object invoke(MethodInvocation invocation) throws Throwable {
    Object target = invocation.getThis();
    if (target == null) {
      return invocation.proceed();
    }
    Class<?> targetClass = AopProxyUtils.ultimateTargetClass(target);
    Method method = AopUtils.getMostSpecificMethod(invocation.getMethod(), targetClass);
    Expressions.Call call = new Expressions.Call(method, target, invocation.getArguments());
    List<Eviction> all = evictions(invocation.getMethod(), targetClass);
    List<Eviction> before = all.stream().filter(Eviction::before).toList();
    List<Eviction> after = all.stream().filter(each -> !each.before()).toList();
    evict(before, call, null);
    Object result = invocation.proceed();
    if (after.isEmpty()) {
      return result;
    }
    if (result instanceof CompletionStage<?> stage) {
      return stage.thenCompose(value -> evictAsync(after, call, value).thenApply(done -> value));
    }
    ReactiveAdapter adapter =
        REACTOR && result != null
            ? ReactiveAdapterRegistry.getSharedInstance().getAdapter(result.getClass())
            : null;
    if (adapter != null) {
      return ReactiveEvictions.after(adapter, result, value -> evictAsync(after, call, value));
    }
    evict(after, call, ObjectUtils.unwrapOptional(result));
    return result;
  }

  /**
   * A cache, and the tags to evict from it.
   *
   * @param larder the cache of Larder behind it; null: it is one of another provider
   * @param afterCommit whether the eviction waits for the commit of the transaction
   */
  private record Work(Cache cache, LarderCache larder, boolean afterCommit, List<String> tags) {
    static Work of(Cache cache, List<String> tags) {
      boolean decorated = TaggedMethods.isDecorated(cache);
      Cache inner = decorated ? Transactions.inner(cache) : cache;
      return inner instanceof LarderCache larder
          ? new Work(cache, larder, decorated, tags)
          : new Work(cache, null, false, tags);
    }

    void run() {
      if (larder == null) {
        cache.clear();
      } else {
        larder.evictTags(tags);
      }
    }
  }

  private List<Work> work(List<Eviction> evictions, Expressions.Call call, Object result) {
    List<Work> work = new ArrayList<>();
    for (Eviction eviction : evictions) {
      if (!expressions.holds(eviction.condition(), call, result)) {
        continue;
      }
      List<String> tags = expressions.tags(eviction.tags(), call, result);
      if (tags.isEmpty()) {
        continue;
      }
      CacheManager manager =
          eviction.manager().isEmpty()
              ? beans.getBean(CacheManager.class)
              : beans.getBean(eviction.manager(), CacheManager.class);
      for (String name : eviction.caches()) {
        Cache cache = manager.getCache(name);
        if (cache == null) {
          throw new IllegalArgumentException(
              "Cannot find cache named '" + name + "' for @CacheEvictTags of " + call.getMethod());
        }
        work.add(Work.of(cache, tags));
      }
    }
    return work;
  }

  private void evict(List<Eviction> evictions, Expressions.Call call, Object result) {
    RuntimeException failure = null;
    for (Work each : work(evictions, call, result)) {
      try {
        if (each.afterCommit()) {
          Transactions.afterCommit(() -> run(each));
        } else {
          run(each);
        }
      } catch (RuntimeException error) {
        // The other caches must not keep what is outdated.
        failure = failure == null ? error : failure;
      }
    }
    if (failure != null) {
      throw failure;
    }
  }

  private void run(Work work) {
    try {
      work.run();
    } catch (RuntimeException error) {
      handle(error, work);
    }
  }

  /** Gives an error to the handler of the program, as Spring does. The default throws it. */
  private void handle(RuntimeException error, Work work) {
    CacheInterceptor interceptor = beans.getBeanProvider(CacheInterceptor.class).getIfUnique();
    if (interceptor == null) {
      throw error;
    }
    interceptor.getErrorHandler().handleCacheClearError(error, work.cache());
  }

  private CompletableFuture<Void> evictAsync(
      List<Eviction> evictions, Expressions.Call call, Object result) {
    List<CompletableFuture<?>> all = new ArrayList<>();
    for (Work each : work(evictions, call, result)) {
      all.add(
          begun(each)
              .exceptionally(
                  error -> {
                    Throwable cause =
                        error instanceof CompletionException && error.getCause() != null
                            ? error.getCause()
                            : error;
                    if (!(cause instanceof RuntimeException failure)) {
                      throw new CompletionException(cause);
                    }
                    handle(failure, each);
                    return null;
                  }));
    }
    return CompletableFuture.allOf(all.toArray(CompletableFuture<?>[]::new));
  }

  private static CompletableFuture<Void> begun(Work work) {
    try {
      if (work.larder() != null) {
        return work.larder().evictTagsAsync(work.tags());
      }
      work.run();
      return CompletableFuture.completedFuture(null);
    } catch (RuntimeException error) {
      return CompletableFuture.failedFuture(error);
    }
  }
}
