package dev.larder.spring.tests;

import java.io.IOException;

/** Methods with the annotations of Spring. Each computes another number at each call. */
public interface CacheableService {
  Long cache(Object arg);

  Long cacheNull(Object arg);

  Long cacheSync(Object arg);

  Long cacheSyncNull(Object arg);

  void evict(Object arg, Object unused);

  void evictEarly(Object arg);

  void evictWithException(Object arg);

  void evictAll(Object arg);

  void evictAllEarly(Object arg);

  Long conditional(int arg);

  Long conditionalSync(int arg);

  Long unless(int arg);

  Long key(Object arg, Object other);

  Long varArgsKey(Object... args);

  Long nullValue(Object arg);

  int nullInvocations();

  Long name(Object arg);

  Long rootVars(Object arg);

  Long customKeyGenerator(Object arg);

  Long unknownKeyGenerator(Object arg);

  Long customCacheManager(Object arg);

  Long unknownCacheManager(Object arg);

  Long throwChecked(Object arg) throws IOException;

  Long throwUnchecked(Object arg);

  Long throwCheckedSync(Object arg) throws IOException;

  Long throwUncheckedSync(Object arg);

  Long update(Object arg);

  Integer conditionalUpdate(int arg);

  Long multiCache(Object arg);

  Long multiEvict(Object arg);

  Long multiUpdate(Object arg);

  Entity putRefersToResult(Entity entity);

  Long multiCacheAndEvict(Object arg);

  Long multiConditionalCacheAndEvict(Object arg);

  /** A value with an id that the method gives it. */
  record Entity(Long id, String name) {}
}
