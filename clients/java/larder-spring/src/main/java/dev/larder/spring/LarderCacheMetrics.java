package dev.larder.spring;

import dev.larder.client.Namespace;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.binder.cache.CacheMeterBinder;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/**
 * The meters of a cache: {@code cache.gets}, {@code cache.puts} and {@code cache.removals}, and for
 * its namespace the counters of the client, such as {@code larder.client.loads}.
 */
public final class LarderCacheMetrics extends CacheMeterBinder<LarderCache> {
  private static final List<String> COUNTERS =
      List.of(
          "hits", "misses", "stale", "negatives", "near_hits", "loads", "load_errors", "joined",
          "fail_open", "fills_refused", "undecodable", "errors", "retries");

  /** Binders of the counters of one scrape read the same copy. */
  private static final long SNAPSHOT_AGE = Duration.ofMillis(200).toNanos();

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
    Counters counters = new Counters(store, namespace.wireName());
    for (String name : COUNTERS) {
      FunctionCounter.builder(
              "larder.client." + name.replace('_', '.'), counters, each -> each.get(name))
          .tag("namespace", namespace.wireName())
          .tags(getTagsWithCacheName())
          .description("Calls of the client for the namespace of the cache")
          .register(registry);
    }
  }

  private static final class Counters {
    private final CacheStore store;
    private final String namespace;
    private Map<String, Long> values = Map.of();
    private long readAt;

    Counters(CacheStore store, String namespace) {
      this.store = store;
      this.namespace = namespace;
      this.readAt = System.nanoTime() - SNAPSHOT_AGE;
    }

    synchronized double get(String name) {
      long now = System.nanoTime();
      if (now - readAt >= SNAPSHOT_AGE) {
        values = store.client().counters().getOrDefault(namespace, Map.of());
        readAt = now;
      }
      return values.getOrDefault(name, 0L);
    }
  }
}
