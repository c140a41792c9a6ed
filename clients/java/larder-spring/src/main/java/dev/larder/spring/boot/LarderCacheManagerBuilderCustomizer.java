package dev.larder.spring.boot;

import dev.larder.spring.LarderCacheManager;

/** A bean of this type changes the manager that is made of {@code larder.cache.*}. */
@FunctionalInterface
public interface LarderCacheManagerBuilderCustomizer {
  /** Changes the options, after those of the properties. */
  void customize(LarderCacheManager.Builder builder);
}
