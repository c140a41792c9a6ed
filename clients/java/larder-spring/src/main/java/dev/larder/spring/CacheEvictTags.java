package dev.larder.spring;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Inherited;
import java.lang.annotation.Repeatable;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Removes all entries with any of these tags when the method has succeeded.
 *
 * <pre>{@code
 * @CacheEvictTags(cacheNames = "users", tags = "'team:' + #team.id")
 * public void rename(Team team) { ... }
 * }</pre>
 *
 * <p>The expressions are those of {@link CacheTags}; {@code #result} is what the method returns. If
 * the cache cannot be reached, the call throws: the entries may be there still. With a manager that
 * is transaction-aware, entries are removed after the commit. A cache of another provider, which
 * has no tags, is cleared.
 */
@Target({ElementType.METHOD, ElementType.ANNOTATION_TYPE})
@Retention(RetentionPolicy.RUNTIME)
@Inherited
@Documented
@Repeatable(CacheEvictTags.Several.class)
public @interface CacheEvictTags {
  /** Caches; by default those of {@code @CacheConfig}. */
  String[] cacheNames() default {};

  /** Expressions that yield tags. */
  String[] tags();

  /** Expression that decides whether to evict. */
  String condition() default "";

  /** Evict before the method runs, whether it succeeds or not. {@code #result} is null then. */
  boolean beforeInvocation() default false;

  /** Bean with the caches; by default that of {@code @CacheConfig}, else the only one. */
  String cacheManager() default "";

  /** Several on one method. */
  @Target({ElementType.METHOD, ElementType.ANNOTATION_TYPE})
  @Retention(RetentionPolicy.RUNTIME)
  @Inherited
  @Documented
  @interface Several {
    /** The annotations. */
    CacheEvictTags[] value();
  }
}
