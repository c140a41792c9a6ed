package dev.larder.spring;

import dev.larder.client.AsyncLoader;
import dev.larder.client.AsyncNamespace;
import dev.larder.client.DecodeException;
import dev.larder.client.DeleteOptions;
import dev.larder.client.Key;
import dev.larder.client.LarderException;
import dev.larder.client.Loader;
import dev.larder.client.Namespace;
import dev.larder.client.Outcome;
import dev.larder.client.ReadOptions;
import dev.larder.client.Result;
import dev.larder.client.Targets;
import dev.larder.client.Tier;
import dev.larder.client.WriteOptions;
import dev.larder.client.WriteResult;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;
import org.springframework.cache.interceptor.CacheOperationInvoker.ThrowableWrapper;
import org.springframework.cache.support.AbstractValueAdaptingCache;
import org.springframework.cache.support.NullValue;

/**
 * A namespace as a cache of Spring. If it cannot be reached, reads find nothing, writes store
 * nothing, and both are logged; evictions throw, as entries may be outdated otherwise. {@code
 * get(key, loader)} runs one loader in the whole fleet.
 */
public final class LarderCache extends AbstractValueAdaptingCache {
  private static final int PUT_ATTEMPTS = 10;

  private final CacheStore store;
  private final TaggedMethods.Invocation invocation;
  private final List<String> tags;

  LarderCache(CacheStore store) {
    this(store, null, List.of());
  }

  private LarderCache(
      CacheStore store, TaggedMethods.Invocation invocation, List<String> tags) {
    super(store.configuration.nullValues());
    this.store = store;
    this.invocation = invocation;
    this.tags = tags;
  }

  /** This cache for one call of a method: it has the type and the tags of its values. */
  LarderCache of(TaggedMethods.Invocation call) {
    return new LarderCache(store, call, tags);
  }

  /** This cache; what it stores has these tags, too. */
  public LarderCache withTags(String... tags) {
    List<String> all = new ArrayList<>(this.tags);
    all.addAll(List.of(tags));
    return new LarderCache(store, invocation, List.copyOf(all));
  }

  @Override
  public String getName() {
    return store.name;
  }

  /** The namespace, a {@link Namespace}. */
  @Override
  public Object getNativeCache() {
    return store.handle(Object.class);
  }

  CacheStore store() {
    return store;
  }

  private Namespace<Object> handle() {
    return store.handle(invocation == null ? Object.class : invocation.type());
  }

  private String[] tagsOf(Object value) {
    List<String> all = new ArrayList<>(tags);
    if (invocation != null) {
      all.addAll(invocation.tags(value));
    }
    return all.toArray(String[]::new);
  }

  @Override
  protected Object lookup(Object key) {
    Key encoded = store.key(key);
    return stored(encoded, handle().get(encoded));
  }

  /** The value as Spring has it, with an object for null; null if there is none. */
  private Object stored(Key key, Result<Object> result) {
    boolean absence = result.value() == null && (result.found() || isNegative(result));
    boolean hit = absence ? isAllowNullValues() : result.found();
    store.read(key, result, hit);
    return hit ? toStoreValue(result.value()) : null;
  }

  private static boolean isNegative(Result<?> result) {
    return result.outcome() == Outcome.NEGATIVE;
  }

  /**
   * The value, read as this type; null if there is none.
   *
   * @throws IllegalStateException if the value cannot be read as this type
   */
  @Override
  public <T> T get(Object key, Class<T> type) {
    if (type == null || type == Object.class) {
      @SuppressWarnings("unchecked") // The caller has asked for any type.
      T any = (T) fromStoreValue(lookup(key));
      return any;
    }
    Key encoded = store.key(key);
    Result<Object> result = store.handle(type).get(encoded);
    Throwable error = result.error().orElse(null);
    Object value = fromStoreValue(stored(encoded, result));
    if (error instanceof DecodeException || value != null && !type.isInstance(value)) {
      throw new IllegalStateException(
          "the cached value is not of the type " + type.getName(), error);
    }
    return type.cast(value);
  }

  /**
   * The value; if there is none, that of the loader. One loader runs in all processes at a time,
   * and the others wait for its value. Without the cache, the loader runs.
   *
   * @throws ValueRetrievalException with the error of the loader
   */
  @Override
  public <T> T get(Object key, Callable<T> valueLoader) {
    Key encoded = store.key(key);
    Loader<Object, Exception> loader =
        context -> {
          Object value = load(valueLoader);
          context.tags(tagsOf(value));
          return value;
        };
    Result<Object> result;
    try {
      result = handle().getOrFetch(encoded, loader, store.fetchOptions());
      if (isNoValue(result)) {
        result = handle().getOrFetch(encoded, loader, store.fetchOptions().refresh(true));
      }
    } catch (Throwable error) {
      if (error instanceof LarderException own && !store.isOfLoader(own)) {
        throw own;
      }
      // The interceptor, if it has made the call, expects the error of the method in its wrapper.
      Throwable wrapped = invocation == null ? error : new ThrowableWrapper(error);
      throw new ValueRetrievalException(key, valueLoader, wrapped);
    }
    @SuppressWarnings("unchecked") // As the loader returns it, or as another call of it did.
    T value = (T) loaded(encoded, result);
    return value;
  }

  /** Whether another program has stored null, or its absence, where null is no value. */
  private boolean isNoValue(Result<Object> result) {
    return !isAllowNullValues()
        && result.value() == null
        && result.tier().orElse(null) != Tier.LOADER;
  }

  private Object loaded(Key key, Result<Object> result) {
    store.read(key, result, result.tier().orElse(null) != Tier.LOADER);
    if (!result.joined()) {
      result.stored().ifPresent(stored -> store.written(key, stored));
    }
    return result.value();
  }

  /** Runs a loader. Its errors are kept apart from those of the cache. */
  private Object load(Callable<?> loader) throws Exception {
    try {
      Object value = plain(loader.call());
      if (value == null) {
        toStoreValue(null);
      }
      return value;
    } catch (ThrowableWrapper wrapper) {
      // The lease is given up with the name of the error, and callers that joined get it.
      Throwable error = invocation == null ? wrapper : wrapper.getOriginal();
      store.failed(error);
      throw LarderCache.<RuntimeException>sneaky(error);
    } catch (Throwable error) {
      store.failed(error);
      throw error;
    }
  }

  @SuppressWarnings("unchecked")
  private static <E extends Throwable> E sneaky(Throwable error) throws E {
    throw (E) error;
  }

  private static Object plain(Object value) {
    return value instanceof NullValue ? null : value;
  }

  @Override
  public CompletableFuture<?> retrieve(Object key) {
    Key encoded = store.key(key);
    return Handovers.of(
        handle().async().get(encoded, ReadOptions.DEFAULTS),
        result -> {
          Object found = stored(encoded, result);
          if (found == null) {
            return null;
          }
          return isAllowNullValues() ? toValueWrapper(found) : fromStoreValue(found);
        },
        store.executor);
  }

  @Override
  public <T> CompletableFuture<T> retrieve(
      Object key, Supplier<CompletableFuture<T>> valueLoader) {
    Key encoded = store.key(key);
    AsyncLoader<Object> loader =
        context ->
            Handovers.begin(
                valueLoader,
                context,
                value -> {
                  Object plain = plain(value);
                  if (plain == null) {
                    toStoreValue(null);
                  }
                  context.tags(tagsOf(plain));
                  return plain;
                },
                store.executor);
    return Handovers.of(
        fetch(encoded, loader),
        result -> {
          @SuppressWarnings("unchecked") // As the loader returns it, or as another call of it did.
          T value = (T) loaded(encoded, result);
          return value;
        },
        store.executor);
  }

  private CompletableFuture<Result<Object>> fetch(Key key, AsyncLoader<Object> loader) {
    AsyncNamespace<Object> namespace = handle().async();
    CompletableFuture<Result<Object>> call =
        namespace.getOrFetch(key, loader, store.fetchOptions());
    if (isAllowNullValues()) {
      return call;
    }
    return Handovers.either(
        call,
        result ->
            isNoValue(result)
                ? namespace.getOrFetch(key, loader, store.fetchOptions().refresh(true))
                : null);
  }

  @Override
  public void put(Object key, Object value) {
    Object plain = fromStoreValue(toStoreValue(plain(value)));
    Key encoded = store.key(key);
    WriteOptions options = WriteOptions.DEFAULTS.tags(tagsOf(plain));
    if (Handovers.mustNotBlock()) {
      handle()
          .async()
          .set(encoded, plain, options)
          .whenComplete((result, error) -> written(encoded, result, error));
      return;
    }
    try {
      store.written(encoded, handle().set(encoded, plain, options));
    } catch (LarderException error) {
      tooLarge(encoded, error);
    }
  }

  private void written(Key key, WriteResult result, Throwable error) {
    if (error == null) {
      store.written(key, result);
    } else {
      store.warn("a value is not stored", key, error);
    }
  }

  /** Logs that a value is over the limit: the caller has it. Other mistakes are the program's. */
  private void tooLarge(Key key, LarderException error) {
    if (!error.reason().endsWith("_TOO_LARGE")) {
      throw error;
    }
    store.warn("a value is not stored", key, error);
  }

  @Override
  public ValueWrapper putIfAbsent(Object key, Object value) {
    Object plain = fromStoreValue(toStoreValue(plain(value)));
    Key encoded = store.key(key);
    WriteOptions always = WriteOptions.DEFAULTS.tags(tagsOf(plain));
    WriteOptions options = always.ifAbsent();
    // The entry that was there may be gone when it is read.
    for (int attempt = 0; attempt < PUT_ATTEMPTS; attempt++) {
      WriteResult result;
      try {
        result = handle().set(encoded, plain, options);
      } catch (LarderException error) {
        tooLarge(encoded, error);
        return null;
      }
      boolean present =
          result instanceof WriteResult.NotStored not
              && not.reason() == WriteResult.Reason.CONDITION_NOT_MET;
      if (!present) {
        store.written(encoded, result);
        return null;
      }
      Result<Object> existing =
          handle().get(encoded, ReadOptions.DEFAULTS.consistent(true).maxStale(Duration.ZERO));
      Object found = stored(encoded, existing);
      if (found != null || existing.degraded()) {
        return toValueWrapper(found);
      }
      boolean unusable =
          existing.found()
              || isNegative(existing)
              || existing.error().orElse(null) instanceof DecodeException;
      if (unusable) {
        // For this cache such an entry is none, so that the value takes its place.
        options = existing.version().isEmpty() ? always : always.ifVersion(existing.version());
      } else {
        options = always.ifAbsent();
      }
    }
    throw new IllegalStateException(
        "putIfAbsent of cache " + store.name + ": the entry changes all the time");
  }

  /**
   * Removes an entry.
   *
   * @throws LarderException if the cache cannot be reached
   */
  @Override
  public void evict(Object key) {
    evictIfPresent(key);
  }

  @Override
  public boolean evictIfPresent(Object key) {
    boolean existed = handle().delete(store.key(key), DeleteOptions.DEFAULTS).existed();
    if (existed) {
      store.removals.increment();
    }
    return existed;
  }

  /**
   * Removes all entries, at a cost independent of their number.
   *
   * @throws LarderException if the cache cannot be reached
   */
  @Override
  public void clear() {
    handle().invalidateNamespace();
  }

  @Override
  public boolean invalidate() {
    clear();
    return false;
  }

  /**
   * Removes all entries with any of these tags.
   *
   * @throws LarderException if the cache cannot be reached
   */
  public void evictTags(Collection<String> tags) {
    if (!tags.isEmpty()) {
      handle().invalidate(Targets.tags(tags.toArray(String[]::new)));
    }
  }

  /** As {@link #evictTags}, without a thread that waits. */
  public CompletableFuture<Void> evictTagsAsync(Collection<String> tags) {
    if (tags.isEmpty()) {
      return CompletableFuture.completedFuture(null);
    }
    return Handovers.of(
        handle().async().invalidate(Targets.tags(tags.toArray(String[]::new))),
        done -> null,
        store.executor);
  }
}
