package dev.larder.spring;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Inherited;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Tags of what a method stores by {@code @Cacheable} or {@code @CachePut}, so that {@link
 * CacheEvictTags} finds it. On a class: for all its methods, in addition to their own.
 *
 * <pre>{@code
 * @Cacheable("users")
 * @CacheTags("'team:' + #result.teamId")
 * public User find(long id) { ... }
 * }</pre>
 *
 * <p>The values are SpEL, as in the annotations of Spring: {@code #result} is the value that is
 * stored (the content of an Optional, a future or a publisher), arguments have their names,
 * {@code #root} has {@code method}, {@code target}, {@code targetClass}, {@code args} and {@code
 * methodName}, and {@code @name} is a bean. Each yields a tag, a list of tags, or null for none. An
 * expression that fails fails the call: without its tags, an entry would outlive its invalidation.
 */
@Target({ElementType.METHOD, ElementType.TYPE, ElementType.ANNOTATION_TYPE})
@Retention(RetentionPolicy.RUNTIME)
@Inherited
@Documented
public @interface CacheTags {
  /** Expressions that yield tags. */
  String[] value();
}
