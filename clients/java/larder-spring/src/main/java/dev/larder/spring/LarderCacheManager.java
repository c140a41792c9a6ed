package dev.larder.spring;

import dev.larder.client.LarderClient;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Executor;
import java.util.function.Consumer;
import org.springframework.cache.Cache;
import org.springframework.cache.transaction.AbstractTransactionSupportingCacheManager;

/** The caches of a client: each is a namespace, made when it is first used. */
public final class LarderCacheManager extends AbstractTransactionSupportingCacheManager {
  private final LarderClient client;
  private final LarderCacheConfiguration defaults;
  private final Map<String, LarderCacheConfiguration> configured;
  private final boolean dynamic;
  private final CacheKeyEncoder keys;
  private final Executor executor;
  private final List<Consumer<LarderCache>> listeners = new CopyOnWriteArrayList<>();
  private final List<LarderCache> made = new CopyOnWriteArrayList<>();

  private LarderCacheManager(Builder builder) {
    client = builder.client;
    defaults = builder.defaults;
    configured = new LinkedHashMap<>(builder.configured);
    dynamic = builder.dynamic;
    keys = builder.keys;
    executor = builder.executor;
    setTransactionAware(builder.transactionAware);
    initializeCaches();
  }

  /** A builder with the defaults. */
  public static Builder builder(LarderClient client) {
    return new Builder(client);
  }

  @Override
  protected Collection<? extends Cache> loadCaches() {
    List<Cache> caches = new ArrayList<>();
    // After Spring has made the manager a bean it asks again: the caches are the same.
    if (made.isEmpty()) {
      configured.forEach((name, configuration) -> caches.add(make(name, configuration)));
    } else {
      caches.addAll(made);
    }
    return caches;
  }

  @Override
  protected Cache getMissingCache(String name) {
    return dynamic ? make(name, defaults) : null;
  }

  private LarderCache make(String name, LarderCacheConfiguration configuration) {
    LarderCache cache =
        new LarderCache(new CacheStore(name, configuration, client, keys, executor));
    made.add(cache);
    listeners.forEach(listener -> listener.accept(cache));
    return cache;
  }

  /** The cache of that name, without what transactions need; null if there is none. */
  public LarderCache cache(String name) {
    Cache cache = getCache(name);
    if (cache == null) {
      return null;
    }
    return cache instanceof LarderCache own ? own : (LarderCache) Transactions.inner(cache);
  }

  /**
   * Removes all entries of a cache with any of these tags. If the manager is transaction-aware,
   * that waits for the commit.
   *
   * @throws dev.larder.client.LarderException if the cache cannot be reached
   */
  public void evictTags(String name, Collection<String> tags) {
    LarderCache cache = cache(name);
    if (cache == null) {
      throw new IllegalArgumentException("there is no cache " + name);
    }
    if (isTransactionAware()) {
      Transactions.afterCommit(() -> cache.evictTags(tags));
    } else {
      cache.evictTags(tags);
    }
  }

  /** Calls a listener for every cache, those of now and those to come. */
  public void onCache(Consumer<LarderCache> listener) {
    listeners.add(listener);
    made.forEach(listener);
  }

  /** Collects the options of a manager. All are optional. */
  public static final class Builder {
    private final LarderClient client;
    private final Map<String, LarderCacheConfiguration> configured = new LinkedHashMap<>();
    private LarderCacheConfiguration defaults = LarderCacheConfiguration.DEFAULTS;
    private boolean dynamic = true;
    private boolean transactionAware;
    private CacheKeyEncoder keys = CacheKeyEncoder.canonical();
    private Executor executor = new CompletableFuture<>().defaultExecutor();

    private Builder(LarderClient client) {
      this.client = Objects.requireNonNull(client, "client: must not be null");
    }

    /** Settings of caches that have none of their own. */
    public Builder defaults(LarderCacheConfiguration defaults) {
      this.defaults = Objects.requireNonNull(defaults, "defaults: must not be null");
      return this;
    }

    /** The settings of caches that have none of their own. */
    public LarderCacheConfiguration defaults() {
      return defaults;
    }

    /** A cache with its settings. It is there from the start. */
    public Builder cache(String name, LarderCacheConfiguration configuration) {
      configured.put(
          name, Objects.requireNonNull(configuration, "configuration: must not be null"));
      return this;
    }

    /** Whether there are other caches than those named by {@link #cache}: true. */
    public Builder dynamic(boolean dynamic) {
      this.dynamic = dynamic;
      return this;
    }

    /** Whether puts and evictions within a transaction wait for its commit: false. */
    public Builder transactionAware(boolean transactionAware) {
      this.transactionAware = transactionAware;
      return this;
    }

    /** Keys of entries: {@link CacheKeyEncoder#canonical}. */
    public Builder keys(CacheKeyEncoder keys) {
      this.keys = Objects.requireNonNull(keys, "keys: must not be null");
      return this;
    }

    /**
     * Runs methods that return futures or publishers, and what follows on them: by default the
     * executor of {@link CompletableFuture}.
     */
    public Builder executor(Executor executor) {
      this.executor = Objects.requireNonNull(executor, "executor: must not be null");
      return this;
    }

    /** The manager. */
    public LarderCacheManager build() {
      return new LarderCacheManager(this);
    }
  }
}
