package dev.larder.client.internal;

import dev.larder.client.KeyPage;
import dev.larder.client.ListOptions;
import dev.larder.client.ListedKey;
import dev.larder.client.Stats;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import larder.v1.CacheServiceOuterClass.CountKeysRequest;
import larder.v1.CacheServiceOuterClass.ListKeysRequest;
import larder.v1.CacheServiceOuterClass.StatsRequest;
import larder.v1.CacheServiceOuterClass.StatsResponse;

/** Lists of keys, and statistics. */
final class Listing {
  /** Time limit of calls that go through the whole store. */
  static final double LIST_TIMEOUT_MS = 5000;

  private Listing() {}

  static CallSpec spec(Scope<?> scope, Call call, ListOptions options) {
    double timeout =
        options.timeout() != null
            ? Times.positive(options.timeout(), "timeout")
            : Math.max(LIST_TIMEOUT_MS, scope.core.limits.call());
    return scope.spec(call, timeout, true, false);
  }

  static CompletableFuture<KeyPage> page(
      Scope<?> scope, Call call, ListOptions options, String token) {
    ListKeysRequest request =
        ListKeysRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setGlob(options.glob())
            .setPageSize(options.pageSize())
            .setPageToken(token)
            .build();
    return scope
        .core
        .caller
        .unary(Rpcs.LIST_KEYS, request, spec(scope, call, options))
        .thenApply(
            answer ->
                new KeyPage(
                    answer.getKeysList().stream()
                        .map(key -> new ListedKey(key.getKey(), key.getParamsDigest()))
                        .toList(),
                    answer.getNextPageToken()));
  }

  static CompletableFuture<Long> count(
      Scope<?> scope, Call call, ListOptions options, String token, long before) {
    CountKeysRequest request =
        CountKeysRequest.newBuilder()
            .setNamespace(scope.namespace)
            .setGlob(options.glob())
            .setPageToken(token)
            .build();
    return scope
        .core
        .caller
        .unary(Rpcs.COUNT_KEYS, request, spec(scope, call, options))
        .thenCompose(
            answer -> {
              long sum = before + answer.getCount();
              return answer.getNextPageToken().isEmpty()
                  ? CompletableFuture.completedFuture(sum)
                  : count(scope, call, options, answer.getNextPageToken(), sum);
            });
  }

  /** Statistics of namespaces; of all if there are none in the list. */
  static CompletableFuture<Stats> stats(
      Core core, CallSpec spec, Collection<String> namespaces) {
    return pages(core, spec, namespaces, "", new ArrayList<>()).thenApply(StatsReader::read);
  }

  private static CompletableFuture<List<StatsResponse>> pages(
      Core core,
      CallSpec spec,
      Collection<String> namespaces,
      String token,
      List<StatsResponse> before) {
    StatsRequest request =
        StatsRequest.newBuilder().addAllNamespaces(namespaces).setPageToken(token).build();
    return core.caller
        .unary(Rpcs.STATS, request, spec)
        .thenCompose(
            answer -> {
              before.add(answer);
              return answer.getNextPageToken().isEmpty()
                  ? CompletableFuture.completedFuture(before)
                  : pages(core, spec, namespaces, answer.getNextPageToken(), before);
            });
  }
}
