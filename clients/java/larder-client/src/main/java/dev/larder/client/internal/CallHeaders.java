package dev.larder.client.internal;

import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException.Code;
import dev.larder.client.internal.Transport.Attempt;
import io.grpc.Metadata;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;

/** The headers of calls. */
final class CallHeaders {
  static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final Metadata.Key<String> SCHEMA_VERSION =
      Metadata.Key.of("larder-schema-version", Metadata.ASCII_STRING_MARSHALLER);

  private final GrpcOptions options;
  private final Futures.Timer timer;

  CallHeaders(GrpcOptions options, Futures.Timer timer) {
    this.options = options;
    this.timer = timer;
  }

  private CompletableFuture<Metadata> all(Attempt attempt) {
    Metadata headers = new Metadata();
    if (options.schemaVersion() != null) {
      headers.put(SCHEMA_VERSION, options.schemaVersion());
    }
    attempt
        .headers()
        .forEach(
            (name, value) ->
                headers.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value));
    if (options.authorization() == null) {
      return CompletableFuture.completedFuture(headers);
    }
    return options
        .authorization()
        .get()
        .thenApply(
            value -> {
              headers.put(AUTHORIZATION, value);
              return headers;
            });
  }

  /** The headers of an attempt, which wait for a token no longer than the attempt itself. */
  CompletableFuture<Metadata> of(Attempt attempt) {
    CompletableFuture<Metadata> headers = all(attempt);
    if (headers.isDone()) {
      return headers;
    }
    CompletableFuture<Metadata> first = Futures.until(attempt.cancellation(), headers);
    if (!Double.isInfinite(attempt.timeoutMs())) {
      ScheduledFuture<?> late =
          timer.after(
              attempt.timeoutMs(),
              () ->
                  first.completeExceptionally(
                      Errors.of(
                          Code.DEADLINE_EXCEEDED,
                          "the token provider takes too long",
                          ErrorFacts.of("NO_TOKEN"))));
      first.whenComplete(
          (value, error) -> {
            if (late != null) {
              late.cancel(false);
            }
          });
    }
    return first;
  }
}
