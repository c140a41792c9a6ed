package dev.larder.jcache;

import dev.larder.client.DeleteOptions;
import dev.larder.client.Deleted;
import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.ListOptions;
import dev.larder.client.ListedKey;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.NearCacheOptions;
import dev.larder.client.OnError;
import dev.larder.client.ReadOptions;
import dev.larder.client.Result;
import dev.larder.client.WriteOptions;
import dev.larder.client.WriteResult;
import dev.larder.client.WriteResult.NotStored;
import dev.larder.client.WriteResult.Reason;
import dev.larder.client.internal.Errors;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import javax.cache.CacheException;

/** The entries of a cache on the server. */
final class Storage<K, V> {
  /** A value past its TTL has expired, whatever the namespace permits. */
  static final ReadOptions FRESH = ReadOptions.DEFAULTS.maxStale(Duration.ZERO);

  private static final ReadOptions LATEST = FRESH.consistent(true);
  private static final int PAGE_KEYS = 500;

  /** Goes on at outages if the option on-error is open. */
  final Namespace<Stored> open;

  /** Throws at outages. */
  final Namespace<Stored> strict;

  private final ObjectFormat keys;
  private final ObjectFormat values;
  private final boolean raises;

  Storage(
      LarderClient client,
      String name,
      CacheConfiguration<K, V> types,
      JCacheSettings settings,
      ClassLoader loader) {
    byte[] secret = settings.secret() == null ? null : settings.secret().bytes();
    String namespace = settings.prefix() + name;
    StoredCodec codec = new StoredCodec(namespace, secret);
    NamespaceOptions options = NamespaceOptions.DEFAULTS.onError(settings.onError());
    if (settings.nearCache()) {
      // The objects are made anew from the bytes for each reader.
      options = options.nearCache(NearCacheOptions.DEFAULTS.shareValues(true));
    }
    raises = settings.onError() == OnError.RAISE;
    open = client.namespace(namespace, codec, options);
    strict =
        client.namespace(namespace, codec, NamespaceOptions.DEFAULTS.onError(OnError.RAISE));
    keys = new ObjectFormat(types.getKeyType(), loader, secret != null);
    values = new ObjectFormat(types.getValueType(), loader, secret != null);
  }

  /** A key of the program, its bytes, and the name of its entry. */
  record Id<K>(K key, byte[] bytes, Key address) {
    String name() {
      return address.key();
    }
  }

  /**
   * The entry that a consistent read has found, or none.
   *
   * @param value null: there is no entry
   * @param stored the value as it is stored; null: there is none
   * @param version of the entry
   * @param remaining time until it expires
   * @param unreadable there is one that cannot be read, as of another program
   */
  record Seen<V>(
      V value, Stored stored, String version, Duration remaining, boolean unreadable) {
    boolean exists() {
      return value != null;
    }
  }

  Id<K> id(K key) {
    byte[] bytes = keys.write(key);
    return new Id<>(key, bytes, Key.of(ObjectFormat.name(bytes)));
  }

  Stored stored(Id<K> id, V value) {
    return new Stored(id.bytes(), values.write(value));
  }

  /** Makes a call; its error is one of JCache. */
  static <R> R call(Supplier<R> call) {
    try {
      return call.get();
    } catch (LarderException error) {
      throw new CacheException(error.getMessage(), error);
    }
  }

  /**
   * The value of an entry.
   *
   * @throws IllegalArgumentException if it cannot be read
   */
  @SuppressWarnings("unchecked") // What another type has written is a ClassCastException later.
  V value(Id<K> id, Stored stored) {
    if (!Arrays.equals(id.bytes(), stored.key())) {
      throw new IllegalArgumentException("an entry with another key");
    }
    return (V) values.read(stored.value());
  }

  /** Removes the entry of a read, unless it was changed after that. */
  void discard(Id<K> id, Result<Stored> result) {
    DeleteOptions condition = DeleteOptions.DEFAULTS.ifVersion(result.version());
    try {
      strict.delete(id.address(), condition);
    } catch (LarderException error) {
      // Without the cache the loader runs.
      if (raises || !Errors.isOutage(error)) {
        throw new CacheException(error.getMessage(), error);
      }
    }
  }

  /** The value of a read; null if there is none, or none that can be read. */
  V valueOf(Id<K> id, Result<Stored> result) {
    if (!(result instanceof Result.Hit<Stored> hit) || hit.value() == null) {
      return null;
    }
    try {
      return value(id, hit.value());
    } catch (IllegalArgumentException unreadable) {
      return null;
    }
  }

  @SuppressWarnings("unchecked") // As above.
  K key(Stored stored) {
    return (K) keys.read(stored.key());
  }

  /** Reads an entry as it is in the store. */
  Seen<V> read(Id<K> id) {
    return seen(id, call(() -> strict.get(id.address(), LATEST)));
  }

  /** Reads entries as they are in the store. */
  Map<Id<K>, Seen<V>> readAll(Collection<Id<K>> ids) {
    Map<Key, Result<Stored>> results =
        call(() -> strict.getMany(ids.stream().map(Id::address).toList(), LATEST));
    Map<Id<K>, Seen<V>> seen = new LinkedHashMap<>();
    ids.forEach(id -> seen.put(id, seen(id, results.get(id.address()))));
    return seen;
  }

  private Seen<V> seen(Id<K> id, Result<Stored> result) {
    if (result instanceof Result.Hit<Stored> hit) {
      try {
        V value = value(id, hit.value());
        return new Seen<>(
            value, hit.value(), hit.version(), hit.ttlRemaining().orElse(null), false);
      } catch (IllegalArgumentException unreadable) {
        return new Seen<>(null, null, hit.version(), null, true);
      }
    }
    if (result.degraded()) {
      throw new Away(result.error().orElse(null));
    }
    return new Seen<>(null, null, "", null, result.error().isPresent());
  }

  /** The server answers, but its store is away. */
  static final class Away extends CacheException {
    private static final long serialVersionUID = 1L;

    Away(Throwable cause) {
      super("the store of the cache cannot be reached", cause);
    }
  }

  /** Stores a value if the entry is as it was seen; its version. Null: the entry is not. */
  String write(Id<K> id, V value, Duration ttl, Seen<V> seen) {
    WriteOptions options = WriteOptions.withTtl(ttl);
    if (seen.exists()) {
      options = options.ifVersion(seen.version());
    } else if (!seen.unreadable()) {
      options = options.ifAbsent();
    }
    WriteOptions condition = options;
    WriteResult result = call(() -> strict.set(id.address(), stored(id, value), condition));
    if (result instanceof NotStored refused && refused.reason() != Reason.CONDITION_NOT_MET) {
      throw new Away(refused.error());
    }
    return result instanceof WriteResult.Stored done ? done.version() : null;
  }

  /**
   * Gives an entry the state in which it was seen, unless there was another change.
   *
   * @param version of the value that has taken its place; empty: the entry was removed
   * @param ttl how long the former value has still to live
   */
  void restore(Id<K> id, Seen<V> seen, String version, Duration ttl) {
    boolean lives = seen.exists() && !ttl.isZero() && !ttl.isNegative();
    if (lives) {
      WriteOptions options = WriteOptions.withTtl(ttl);
      WriteOptions condition =
          version.isEmpty() ? options.ifAbsent() : options.ifVersion(version);
      call(() -> strict.set(id.address(), seen.stored(), condition));
    } else if (!version.isEmpty()) {
      call(() -> strict.delete(id.address(), DeleteOptions.DEFAULTS.ifVersion(version)));
    }
  }

  /** Removes an entry if it is as it was seen. False: it is not. */
  boolean remove(Id<K> id, Seen<V> seen) {
    DeleteOptions options = DeleteOptions.DEFAULTS;
    if (!seen.version().isEmpty()) {
      options = options.ifVersion(seen.version());
    }
    DeleteOptions condition = options;
    return call(() -> strict.delete(id.address(), condition)).deleted();
  }

  /** Removes an entry; its value if {@code returning}. */
  Deleted<Stored> delete(Id<K> id, boolean returning) {
    DeleteOptions options = DeleteOptions.DEFAULTS.returnValue(returning);
    return call(() -> strict.delete(id.address(), options));
  }

  /** Removes entries. The map has whether each was there. */
  Map<Key, Boolean> deleteAll(Collection<Key> addresses) {
    Map<Key, Boolean> existed = new LinkedHashMap<>();
    call(() -> strict.deleteMany(List.copyOf(addresses)))
        .forEach((key, deleted) -> existed.put(key, deleted.existed()));
    return existed;
  }

  /** Gives an entry that was read a new TTL; zero: it ends. */
  void expireIn(Id<K> id, Duration ttl) {
    if (!ttl.isZero()) {
      call(() -> open.touch(id.address(), ttl));
      return;
    }
    try {
      open.delete(id.address(), DeleteOptions.DEFAULTS);
    } catch (LarderException error) {
      // The read itself has its value; the entry lives on until its TTL is over.
      if (raises || !Errors.isOutage(error)) {
        throw new CacheException(error.getMessage(), error);
      }
    }
  }

  /** Reads an entry; without the cache there is none, unless the option on-error is raise. */
  Result<Stored> get(Id<K> id) {
    return checked(call(() -> open.get(id.address(), FRESH)));
  }

  private Result<Stored> checked(Result<Stored> result) {
    if (raises && result.degraded() && !result.found()) {
      throw new Away(result.error().orElse(null));
    }
    return result;
  }

  /**
   * Stores values, whatever the entries are; their number. Without the cache none is stored, unless
   * on-error is raise.
   */
  int setAll(Map<Key, Stored> values, Duration ttl) {
    WriteOptions options = WriteOptions.withTtl(ttl);
    Collection<WriteResult> results =
        values.size() == 1
            ? values.entrySet().stream()
                .map(one -> call(() -> open.set(one.getKey(), one.getValue(), options)))
                .toList()
            : call(() -> open.setMany(values, options)).values();
    int count = 0;
    for (WriteResult result : results) {
      boolean refused = result instanceof NotStored not && not.reason() != Reason.EXPIRED;
      if (raises && refused) {
        throw new Away(((NotStored) result).error());
      }
      count += result.stored() ? 1 : 0;
    }
    return count;
  }

  boolean contains(Id<K> id) {
    return call(() -> open.has(id.address(), FRESH));
  }

  Map<Key, Result<Stored>> getAll(Collection<Id<K>> ids) {
    Map<Key, Result<Stored>> results =
        call(() -> open.getMany(ids.stream().map(Id::address).toList(), FRESH));
    results.values().forEach(this::checked);
    return results;
  }

  /** Makes all entries unreachable. */
  void clear() {
    call(strict::invalidateNamespace);
  }

  /** The names of all entries, those of other programs in the namespace among them. */
  Iterator<ListedKey> list() {
    return strict.listKeys(ListOptions.DEFAULTS.pageSize(PAGE_KEYS)).iterator();
  }
}
