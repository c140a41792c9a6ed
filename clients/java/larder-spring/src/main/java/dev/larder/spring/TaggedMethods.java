package dev.larder.spring;

import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.aop.framework.AopProxyUtils;
import org.springframework.aop.support.AopUtils;
import org.springframework.cache.Cache;
import org.springframework.cache.transaction.TransactionAwareCacheDecorator;
import org.springframework.context.expression.AnnotatedElementKey;
import org.springframework.core.annotation.MergedAnnotations;
import org.springframework.core.annotation.MergedAnnotations.SearchStrategy;

/** Methods that store values, with the type and the tags of these. */
final class TaggedMethods {
  private final Map<AnnotatedElementKey, Facts> known = new ConcurrentHashMap<>();
  private final Expressions expressions;

  TaggedMethods(Expressions expressions) {
    this.expressions = expressions;
  }

  private record Facts(Method method, Type type, List<String> tags) {}

  /** A call of a method that stores its result. */
  final class Invocation {
    private final Facts facts;
    private final Expressions.Call call;

    private Invocation(Facts facts, Expressions.Call call) {
      this.facts = facts;
      this.call = call;
    }

    /** Type of the values; Object if it is unknown. */
    Type type() {
      return facts.type();
    }

    /** Tags of a value. */
    List<String> tags(Object value) {
      return facts.tags().isEmpty()
          ? List.of()
          : expressions.tags(facts.tags(), call, value);
    }
  }

  /** The cache for one call; one of another provider as it is. */
  Cache bind(Cache cache, Method method, Object target, Object[] args) {
    if (cache instanceof LarderCache larder) {
      return larder.of(invocation(method, target, args));
    }
    if (isDecorated(cache)) {
      return Decorated.bind(this, cache, method, target, args);
    }
    return cache;
  }

  static boolean isDecorated(Cache cache) {
    // By name: the class needs the library of transactions.
    return cache
        .getClass()
        .getName()
        .equals("org.springframework.cache.transaction.TransactionAwareCacheDecorator");
  }

  private static final class Decorated {
    private Decorated() {}

    static Cache bind(
        TaggedMethods methods, Cache cache, Method method, Object target, Object[] args) {
      Cache inner = ((TransactionAwareCacheDecorator) cache).getTargetCache();
      Cache bound = methods.bind(inner, method, target, args);
      return bound == inner ? cache : new TransactionAwareCacheDecorator(bound);
    }
  }

  private Invocation invocation(Method method, Object target, Object[] args) {
    Class<?> targetClass = AopProxyUtils.ultimateTargetClass(target);
    Facts facts =
        known.computeIfAbsent(
            new AnnotatedElementKey(method, targetClass), key -> read(method, targetClass));
    return new Invocation(facts, new Expressions.Call(facts.method(), target, args));
  }

  private static Facts read(Method method, Class<?> targetClass) {
    Method specific =
        Proxy.isProxyClass(targetClass)
            ? method
            : AopUtils.getMostSpecificMethod(method, targetClass);
    List<String> tags = new ArrayList<>();
    collect(MergedAnnotations.from(targetClass, SearchStrategy.TYPE_HIERARCHY), tags);
    collect(MergedAnnotations.from(specific, SearchStrategy.TYPE_HIERARCHY), tags);
    return new Facts(specific, ContentTypes.of(specific, targetClass), List.copyOf(tags));
  }

  private static void collect(MergedAnnotations annotations, List<String> tags) {
    var found = annotations.get(CacheTags.class);
    if (found.isPresent()) {
      tags.addAll(List.of(found.getStringArray("value")));
    }
  }
}
