package dev.larder.spring;

import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import org.springframework.core.ReactiveAdapter;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Evictions after the end of a publisher. */
final class ReactiveEvictions {
  private ReactiveEvictions() {}

  /** The publisher, which ends after the eviction. Of several values, the result is null. */
  static Object after(
      ReactiveAdapter adapter, Object result, Function<Object, CompletableFuture<Void>> evict) {
    if (adapter.isMultiValue()) {
      Flux<Object> values = Flux.from(adapter.toPublisher(result));
      return adapter.fromPublisher(values.concatWith(done(evict, null)));
    }
    Mono<Object> value = Mono.from(adapter.toPublisher(result));
    // One that is empty is the result null.
    return adapter.fromPublisher(
        value
            .flatMap(found -> done(evict, found).thenReturn(found))
            .switchIfEmpty(done(evict, null)));
  }

  private static Mono<Object> done(
      Function<Object, CompletableFuture<Void>> evict, Object result) {
    return Mono.defer(() -> Mono.fromFuture(evict.apply(result))).then(Mono.empty());
  }
}
