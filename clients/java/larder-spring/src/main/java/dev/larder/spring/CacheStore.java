package dev.larder.spring;

import dev.larder.client.DecodeException;
import dev.larder.client.FetchOptions;
import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.Result;
import dev.larder.client.WriteResult;
import java.lang.reflect.Type;
import java.time.Duration;
import java.util.Collections;
import java.util.Map;
import java.util.Set;
import java.util.WeakHashMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import org.apache.commons.logging.Log;
import org.apache.commons.logging.LogFactory;

/** All views of one cache share this: its handles by type, its counters and its log. */
final class CacheStore {
  private static final Log LOG = LogFactory.getLog(LarderCache.class);

  /** An outage concerns every call: more lines would hide others. */
  private static final long WARN_EVERY = Duration.ofSeconds(30).toNanos();

  private static final long COUNTED_AGE = Duration.ofMillis(200).toNanos();

  final String name;
  final LarderCacheConfiguration configuration;
  final Executor executor;
  final LongAdder hits = new LongAdder();
  final LongAdder misses = new LongAdder();
  final LongAdder puts = new LongAdder();
  final LongAdder removals = new LongAdder();

  private final LarderClient client;
  private final CacheKeyEncoder keys;
  private final Map<Type, Namespace<Object>> handles = new ConcurrentHashMap<>();
  private final Set<LarderException> loaderErrors =
      Collections.synchronizedSet(Collections.newSetFromMap(new WeakHashMap<>()));
  private volatile Counted counted;
  private final AtomicLong nextWarning = new AtomicLong(System.nanoTime());

  CacheStore(
      String name,
      LarderCacheConfiguration configuration,
      LarderClient client,
      CacheKeyEncoder keys,
      Executor executor) {
    this.name = name;
    this.configuration = configuration;
    this.client = client;
    this.keys = keys;
    this.executor = executor;
    handle(configuration.type());
  }

  /** Notes an error of a loader: callers that joined get the same object. */
  void failed(Throwable error) {
    if (error instanceof LarderException own) {
      loaderErrors.add(own);
    }
  }

  /** Whether an error is that of a loader, such as one that uses another cache. */
  boolean isOfLoader(LarderException error) {
    return loaderErrors.contains(error);
  }

  /** A counter of the client for the namespace; those of one scrape are of one copy. */
  double clientCount(String counter) {
    long now = System.nanoTime();
    Counted known = counted;
    if (known == null || now - known.at() >= COUNTED_AGE) {
      Map<String, Map<String, Long>> all = client.counters();
      known = new Counted(all.getOrDefault(handle(Object.class).wireName(), Map.of()), now);
      counted = known;
    }
    return known.values().getOrDefault(counter, 0L);
  }

  private record Counted(Map<String, Long> values, long at) {}

  /** The handle for values of a type; Object stands for the type of the cache. */
  Namespace<Object> handle(Type type) {
    Type known = type == Object.class ? configuration.type() : type;
    Namespace<Object> handle = handles.get(known);
    return handle != null ? handle : handles.computeIfAbsent(known, this::open);
  }

  private Namespace<Object> open(Type type) {
    String namespace =
        configuration.namespace() == null ? name : configuration.namespace();
    NamespaceOptions options =
        NamespaceOptions.DEFAULTS
            .ttl(configuration.ttl())
            .tags(configuration.tags().toArray(String[]::new))
            .nearCache(configuration.nearCache());
    return client.namespace(namespace, configuration.codecs().codec(type), options);
  }

  FetchOptions fetchOptions() {
    return configuration.waitTimeout() == null
        ? FetchOptions.DEFAULTS
        : FetchOptions.DEFAULTS.timeout(configuration.waitTimeout());
  }

  /** The key of an entry. */
  Key key(Object key) {
    try {
      return keys.encode(key);
    } catch (IllegalArgumentException error) {
      throw new IllegalArgumentException(
          "the key of the cache " + name + ": " + error.getMessage(), error);
    }
  }

  /** Counts a read, and logs why it found nothing. */
  void read(Key key, Result<Object> result, boolean hit) {
    (hit ? hits : misses).increment();
    Throwable error = result.error().orElse(null);
    if (error instanceof DecodeException) {
      warn("an entry cannot be read, and is computed again", key, error);
    } else if (error != null && result.degraded()) {
      warn("a read goes on without the cache", key, error);
    }
  }

  /** Counts a write, and logs why nothing is stored. */
  void written(Key key, WriteResult result) {
    if (result.stored()) {
      puts.increment();
    } else if (result instanceof WriteResult.NotStored not) {
      if (not.error() != null || not.degraded()) {
        warn("a value is not stored (" + not.reason() + ")", key, not.error());
      } else if (LOG.isDebugEnabled()) {
        LOG.debug(line("a value is not stored (" + not.reason() + ")", key, null));
      }
    }
  }

  /** Logs what does not fail the caller: a warning now and then, the others for debugging. */
  void warn(String what, Key key, Throwable error) {
    long now = System.nanoTime();
    long next = nextWarning.get();
    if (now - next >= 0 && nextWarning.compareAndSet(next, now + WARN_EVERY)) {
      LOG.warn(line(what, key, error));
    } else if (LOG.isDebugEnabled()) {
      LOG.debug(line(what, key, error), error);
    }
  }

  private String line(String what, Key key, Throwable error) {
    String cause = error == null ? "" : ": " + error;
    return "cache " + name + ", key " + key.key() + ": " + what + cause;
  }
}
