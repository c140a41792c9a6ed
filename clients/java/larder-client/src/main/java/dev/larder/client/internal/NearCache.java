package dev.larder.client.internal;

import dev.larder.client.Codec;
import dev.larder.client.Encoded;
import dev.larder.client.NearCacheOptions;
import dev.larder.client.Result;
import dev.larder.client.Result.Facts;
import dev.larder.client.Tier;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BiPredicate;
import larder.v1.CacheServiceOuterClass.Value;

/**
 * Values of a namespace in this process, kept coherent by a feed: without one it is empty and
 * unused. The least recently used go first.
 */
final class NearCache<V> {
  /** Bytes that an entry takes besides its key and its value. */
  private static final int ENTRY_BYTES = 256;

  /** Bytes that a tag, or a text of a param, takes besides its characters. */
  private static final int TEXT_BYTES = 48;

  private final ReentrantLock lock = new ReentrantLock();
  private final LinkedHashMap<Address, Entry<V>> entries = new LinkedHashMap<>(16, 0.75f, true);

  /** Addresses by key, for entries with params. */
  private final Map<String, Set<Address>> byKey = new HashMap<>();

  private final Set<Pending> pending = new HashSet<>();
  private final Feed feed;
  private final Codec<V> codec;
  private final NearCacheOptions options;
  private long bytes;

  NearCache(Feed feed, Codec<V> codec, NearCacheOptions options) {
    this.feed = feed;
    this.codec = codec;
    this.options = options;
    feed.listen(this);
  }

  /** A value is kept as it was sent, unless readers can share the object. */
  private record Entry<V>(
      boolean shared,
      V value,
      Encoded encoded,
      String version,
      List<String> tags,
      double writtenAt,
      double endsAt,
      long bytes) {}

  /** A read that is under way; a change that may concern it makes it unclean. */
  static final class Pending {
    private final Address address;
    private final double startedAt;
    private boolean clean = true;

    private Pending(Address address, double startedAt) {
      this.address = address;
      this.startedAt = startedAt;
    }
  }

  /** The value of an entry, if it is certain to be that of the store; else null. */
  Result<V> get(Address address) {
    double now = Times.now();
    if (!feed.isLive(now)) {
      return null;
    }
    Entry<V> entry;
    lock.lock();
    try {
      entry = entries.get(address);
      if (entry == null) {
        return null;
      }
      if (now >= entry.endsAt) {
        drop(address);
        return null;
      }
    } finally {
      lock.unlock();
    }
    V value;
    try {
      value = entry.shared ? entry.value : codec.decode(copy(entry.encoded));
    } catch (RuntimeException | LinkageError | StackOverflowError error) {
      // The store is asked, whose answer has the error.
      return null;
    }
    return new Result.Hit<>(
        value,
        new Facts(
            entry.version,
            Times.toJava(now - entry.writtenAt),
            Times.toJava(entry.endsAt - now),
            entry.tags,
            Tier.CLIENT,
            false,
            null,
            null,
            false));
  }

  private static Encoded copy(Encoded encoded) {
    return encoded instanceof Encoded.Data data ? new Encoded.Data(data.value().clone()) : encoded;
  }

  /** Begins a read whose result may be kept. Null: there is no feed. */
  Pending begin(Address address) {
    double now = Times.now();
    if (!feed.isLive(now)) {
      return null;
    }
    Pending begun = new Pending(address, now);
    lock.lock();
    try {
      pending.add(begun);
    } finally {
      lock.unlock();
    }
    return begun;
  }

  /**
   * Begins reads that one request makes. Empty: there is no feed for all of them, so that none is
   * kept.
   */
  List<Pending> beginAll(List<Address> addresses) {
    List<Pending> begun = new ArrayList<>();
    for (Address address : addresses) {
      Pending one = begin(address);
      if (one == null) {
        begun.forEach(each -> end(each, null, null));
        return List.of();
      }
      begun.add(one);
    }
    return begun;
  }

  /** Ends a read, and keeps its result if nothing has changed meanwhile. */
  void end(Pending begun, Result<V> result, Value value) {
    boolean keep =
        result instanceof Result.Hit<V>
            && result.facts().tier() == Tier.STORE
            && feed.isLive(Times.now());
    Entry<V> entry = keep ? entry(begun, result, value) : null;
    lock.lock();
    try {
      if (!pending.remove(begun) || !begun.clean || entry == null) {
        return;
      }
      if (entry.bytes > options.maxBytes()) {
        return;
      }
      drop(begun.address);
      entries.put(begun.address, entry);
      bytes += entry.bytes;
      if (!begun.address.params().isEmpty()) {
        byKey.computeIfAbsent(begun.address.key(), key -> new HashSet<>()).add(begun.address);
      }
      Iterator<Map.Entry<Address, Entry<V>>> oldest = entries.entrySet().iterator();
      while (bytes > options.maxBytes() || entries.size() > options.maxEntries()) {
        Map.Entry<Address, Entry<V>> next = oldest.next();
        oldest.remove();
        forgotten(next.getKey(), next.getValue());
      }
    } finally {
      lock.unlock();
    }
  }

  private Entry<V> entry(Pending begun, Result<V> result, Value value) {
    boolean shared = options.shareValues() || Immutable.isImmutable(result.value());
    Facts facts = result.facts();
    double age = facts.age() == null ? 0 : Times.ms(facts.age());
    double remaining = facts.ttlRemaining() == null ? 0 : Times.ms(facts.ttlRemaining());
    long size = ENTRY_BYTES + Values.size(value) + size(begun.address);
    for (String tag : facts.tags()) {
      size += TEXT_BYTES + 2L * tag.length();
    }
    // The lifetimes are those of the answer, which is later than the begin of the read.
    return new Entry<>(
        shared,
        shared ? result.value() : null,
        shared ? null : Values.fromWire(value),
        facts.version(),
        facts.tags(),
        begun.startedAt - age,
        begun.startedAt + remaining,
        size);
  }

  private static long size(Address address) {
    long size = 2L * address.key().length();
    for (Map.Entry<String, String> param : address.params().entrySet()) {
      size += 2 * TEXT_BYTES + 2L * (param.getKey().length() + param.getValue().length());
    }
    return size;
  }

  private void drop(Address address) {
    Entry<V> entry = entries.remove(address);
    if (entry != null) {
      forgotten(address, entry);
    }
  }

  private void forgotten(Address address, Entry<V> entry) {
    bytes -= entry.bytes;
    Set<Address> others = byKey.get(address.key());
    if (others != null) {
      others.remove(address);
      if (others.isEmpty()) {
        byKey.remove(address.key());
      }
    }
  }

  /** Entries with this key, with any params, have changed. */
  void keyChanged(String key) {
    lock.lock();
    try {
      for (Pending begun : pending) {
        if (begun.address.key().equals(key)) {
          begun.clean = false;
        }
      }
      drop(new Address(key, Map.of()));
      for (Address address : new ArrayList<>(byKey.getOrDefault(key, Set.of()))) {
        drop(address);
      }
    } finally {
      lock.unlock();
    }
  }

  /** Entries for which {@code concerns} is true have changed. */
  void matching(BiPredicate<String, List<String>> concerns) {
    lock.lock();
    try {
      // A value that is on its way may have any tags.
      pending.forEach(begun -> begun.clean = false);
      entries
          .entrySet()
          .removeIf(
              each -> {
                boolean gone = concerns.test(each.getKey().key(), each.getValue().tags);
                if (gone) {
                  forgotten(each.getKey(), each.getValue());
                }
                return gone;
              });
    } finally {
      lock.unlock();
    }
  }

  /** All entries have changed. */
  void clear() {
    matching((key, tags) -> true);
  }

  /** Number of entries. */
  int size() {
    lock.lock();
    try {
      return entries.size();
    } finally {
      lock.unlock();
    }
  }
}
