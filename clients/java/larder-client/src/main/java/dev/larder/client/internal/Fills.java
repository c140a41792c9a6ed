package dev.larder.client.internal;

import dev.larder.client.FetchOptions;
import dev.larder.client.LoadContext;
import dev.larder.client.WriteResult;
import dev.larder.client.internal.FetchMany.Missing;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import larder.v1.CacheServiceOuterClass.BatchSetRequest;

/** The fills of one computation of several values. */
final class Fills<K, V> {
  private record Item<K, V>(K key, HeldLease<V> lease, HeldLease.Fill fill) {}

  private final Scope<V> scope;
  private final List<Missing<K, V>> missing;
  private final Map<K, ? extends V> values;
  private final LoadContext context;
  private final FetchOptions options;
  private final Call call;
  private final Map<K, WriteResult> stored = new HashMap<>();

  /** The work is done, so that values are stored although their callers may leave. */
  Fills(
      Scope<V> scope,
      List<Missing<K, V>> missing,
      Map<K, ? extends V> values,
      LoadContext context,
      FetchOptions options,
      Call call) {
    this.scope = scope;
    this.missing = missing;
    this.values = values;
    this.context = context;
    this.options = options;
    this.call = call;
  }

  CompletableFuture<Map<K, WriteResult>> store() {
    List<List<Item<K, V>>> parts = new ArrayList<>();
    List<Item<K, V>> part = new ArrayList<>();
    int bytes = 0;
    for (Missing<K, V> one : missing) {
      Item<K, V> item = item(one);
      if (item == null) {
        continue;
      }
      int size = Values.size(item.fill().request().getValue()) + Writes.ITEM_BYTES;
      boolean full = part.size() == Scope.BATCH_KEYS || bytes + size > Writes.BATCH_BYTES;
      if (full && !part.isEmpty()) {
        parts.add(part);
        part = new ArrayList<>();
        bytes = 0;
      }
      part.add(item);
      bytes += size;
    }
    if (!part.isEmpty()) {
      parts.add(part);
    }
    CompletableFuture<Void> done = CompletableFuture.completedFuture(null);
    for (List<Item<K, V>> items : parts) {
      done = done.thenCompose(ignored -> fill(items));
    }
    return done.<Map<K, WriteResult>>thenApply(ignored -> stored)
        .whenComplete(
            (value, error) ->
                missing.forEach(
                    one -> {
                      if (one.lease() != null) {
                        one.lease().release();
                      }
                    }));
  }

  private Item<K, V> item(Missing<K, V> one) {
    if (one.lease() == null) {
      return null;
    }
    if (!values.containsKey(one.key())) {
      one.lease().passOn();
      return null;
    }
    HeldLease.Fill fill = one.lease().fill(values.get(one.key()), context, options);
    if (fill.request() == null) {
      stored.put(one.key(), one.lease().refuse(fill));
      return null;
    }
    return new Item<>(one.key(), one.lease(), fill);
  }

  private CompletableFuture<Void> fill(List<Item<K, V>> items) {
    BatchSetRequest.Builder request = BatchSetRequest.newBuilder();
    items.forEach(item -> request.addItems(item.fill().request()));
    CallSpec spec = scope.spec(call, (Duration) null, false, false);
    return Futures.then(
        Feeds.changing(
            scope,
            feed -> items.forEach(item -> feed.keyChanged(item.fill().request().getKey())),
            () -> scope.core.caller.unary(Rpcs.BATCH_SET, request.build(), spec)),
        (answer, error) -> {
          if (error == null) {
            for (int index = 0; index < items.size(); index++) {
              stored.put(
                  items.get(index).key(),
                  HeldLease.filled(scope, answer.getResults(index)));
            }
            return CompletableFuture.completedFuture(null);
          }
          if (items.size() > 1 && !scope.failsOpen(error)) {
            // One item that is wrong fails a batch, so that each is tried alone.
            CompletableFuture<Void> done = CompletableFuture.completedFuture(null);
            for (Item<K, V> item : items) {
              done = done.thenCompose(ignored -> fill(List.of(item)));
            }
            return done;
          }
          for (Item<K, V> item : items) {
            item.lease().passOn();
            stored.put(item.key(), HeldLease.unfilled(scope, error));
          }
          return CompletableFuture.completedFuture(null);
        });
  }
}
