package dev.larder.spring;

import dev.larder.client.Namespace;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.binder.cache.CacheMeterBinder;
import java.util.List;

/**
 * The meters of a cache: {@code cache.gets}, {@code cache.puts} and {@code cache.removals}, and for
 * its namespace the counters of the client, such as {@code larder.client.loads}.
 */
public final class LarderCacheMetrics extends CacheMeterBinder<LarderCache> {
  private static final List<String> COUNTERS =
      List.of(
          "hits", "misses", "stale", "negatives", "near_hits", "loads", "load_errors", "joined",
          "fail_open", "fills_refused", "undecodable", "errors", "retries");

  private final CacheStore store;

  /** The meters of a cache, with these tags. */
  public LarderCacheMetrics(LarderCache cache, Iterable<Tag> tags) {
    super(cache, cache.getName(), tags);
    store = cache.store();
  }

  @Override
  protected Long size() {
    return null;
  }

  @Override
  protected long hitCount() {
    return store.hits.sum();
  }

  @Override
  protected Long missCount() {
    return store.misses.sum();
  }

  @Override
  protected Long evictionCount() {
    return null;
  }

  @Override
  protected long putCount() {
    return store.puts.sum();
  }

  @Override
  protected void bindImplementationSpecificMetrics(MeterRegistry registry) {
    FunctionCounter.builder("cache.removals", store, each -> each.removals.sum())
        .tags(getTagsWithCacheName())
        .description("Entries that were removed")
        .register(registry);
    Namespace<Object> namespace = store.handle(Object.class);
    for (String name : COUNTERS) {
      // A meter refers weakly to its object: the store lives as long as its cache.
      FunctionCounter.builder(
              "larder.client." + name.replace('_', '.'), store, each -> each.clientCount(name))
          .tag("namespace", namespace.wireName())
          .tags(getTagsWithCacheName())
          .description("Calls of the client for the namespace of the cache")
          .register(registry);
    }
  }
}
