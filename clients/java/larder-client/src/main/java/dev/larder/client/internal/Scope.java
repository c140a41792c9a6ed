package dev.larder.client.internal;

import com.google.protobuf.MessageLite;
import dev.larder.client.Codec;
import dev.larder.client.internal.Counters.Counts;
import dev.larder.client.internal.Counters.Name;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Function;

/** A handle's own settings, with what it needs to make calls. */
final class Scope<V> {
  /** The most keys of a batch that the server takes. */
  private static final int BATCH_KEYS = 1000;

  /** Bytes of a batch; a message to the server has at most 4 MiB. */
  private static final int BATCH_BYTES = 3 * 1024 * 1024;

  /** Bytes of the tag and the length of an item in a message, at most. */
  private static final int ITEM_BYTES = 8;

  final Core core;

  /** Name as the server has it. */
  final String namespace;

  final Codec<V> codec;

  /** Milliseconds; null: the server's default. */
  final Double ttl;

  final List<String> tags;

  /** Whether outages are thrown everywhere. */
  final boolean raise;

  final Counts count;

  /** The near cache of the handle; null: none. */
  final NearCache<V> near;

  Scope(
      Core core,
      String namespace,
      Codec<V> codec,
      Double ttl,
      List<String> tags,
      boolean raise,
      NearCache<V> near) {
    this.core = core;
    this.namespace = namespace;
    this.codec = codec;
    this.ttl = ttl;
    this.tags = tags;
    this.raise = raise;
    this.count = core.counters.of(namespace);
    this.near = near;
  }

  /** The same handle with another codec, and without a near cache. */
  <U> Scope<U> with(Codec<U> other) {
    return new Scope<>(core, namespace, other, ttl, tags, raise, null);
  }

  /** How a call is made; {@code timeout} null: the limit of the client. */
  CallSpec spec(Call call, Duration timeout, boolean idempotent, boolean open) {
    double ms = timeout == null ? core.limits.call() : Times.positive(timeout, "timeout");
    return spec(call, ms, idempotent, open);
  }

  CallSpec spec(Call call, double timeoutMs, boolean idempotent, boolean open) {
    return new CallSpec(call, timeoutMs, namespace, count, idempotent, open && !raise, false);
  }

  /** Whether a call goes on without the cache after this error. */
  boolean failsOpen(Throwable error) {
    if (raise || !Errors.isOutage(error)) {
      return false;
    }
    count.add(Name.FAIL_OPEN);
    return true;
  }

  /** The TTL of a write in milliseconds: its own, else the handle's; null: the server's. */
  Double ttlOf(Duration given) {
    return given == null ? ttl : Double.valueOf(Times.ms(given));
  }

  /** Tags of a value: those of the handle and its own, each once. */
  List<String> tagsOf(List<String> own) {
    if (own.isEmpty()) {
      return tags;
    }
    Set<String> all = new LinkedHashSet<>(tags);
    all.addAll(own);
    return List.copyOf(all);
  }

  /** Parts that fit into a message each. An item that is too large by itself is a part. */
  static <T> List<List<T>> batches(List<T> items, Function<T, MessageLite> message) {
    List<List<T>> batches = new ArrayList<>();
    int start = 0;
    int bytes = 0;
    for (int at = 0; at < items.size(); at++) {
      int size = message.apply(items.get(at)).getSerializedSize() + ITEM_BYTES;
      boolean full = at - start == BATCH_KEYS || bytes + size > BATCH_BYTES;
      if (full && at > start) {
        batches.add(items.subList(start, at));
        start = at;
        bytes = 0;
      }
      bytes += size;
    }
    if (start < items.size()) {
      batches.add(items.subList(start, items.size()));
    }
    return batches;
  }

  /** Parts of at most {@code size} items. */
  static <T> List<List<T>> chunks(List<T> items, int size) {
    List<List<T>> chunks = new ArrayList<>();
    for (int start = 0; start < items.size(); start += size) {
      chunks.add(items.subList(start, Math.min(items.size(), start + size)));
    }
    return chunks;
  }
}
