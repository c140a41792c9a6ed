package dev.larder.client.internal;

import dev.larder.client.FetchOptions;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.LoadContext;
import dev.larder.client.WriteResult;
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
    List<Item<K, V>> items = new ArrayList<>();
    for (Missing<K, V> one : missing) {
      Item<K, V> item = item(one);
      if (item != null) {
        items.add(item);
      }
    }
    CompletableFuture<Void> done = CompletableFuture.completedFuture(null);
    for (List<Item<K, V>> part : Scope.batches(items, item -> item.fill().request())) {
      done = done.thenCompose(ignored -> fill(part));
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

  /** Whether an error can be that of one item: a wrong tag, or a value that is too large. */
  private static boolean isOfAnItem(Throwable error) {
    return error instanceof LarderException failure
        && !Errors.isOutage(failure)
        && (failure.code() == Code.INVALID_ARGUMENT || failure.code() == Code.RESOURCE_EXHAUSTED);
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
          if (items.size() > 1 && isOfAnItem(error)) {
            // One item that is wrong fails a batch, so that it is looked for.
            int half = items.size() / 2;
            List<Item<K, V>> rest = items.subList(half, items.size());
            return fill(items.subList(0, half)).thenCompose(ignored -> fill(rest));
          }
          for (Item<K, V> item : items) {
            item.lease().passOn();
            stored.put(item.key(), HeldLease.unfilled(scope, error));
          }
          return CompletableFuture.completedFuture(null);
        });
  }
}
