package dev.larder.client.internal;

import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException.Code;
import dev.larder.client.Token;
import dev.larder.client.TokenProvider;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.regex.Pattern;

/** Keeps the header {@code authorization}, and asks the provider for a new token when it must. */
final class Authorization {
  private static final Pattern PRINTABLE = Pattern.compile("[\\x21-\\x7e]+");

  /** A token is renewed before its end, so that none expires on the way to the server. */
  private static final double RENEWED_BEFORE_MS = 30_000;

  private final ReentrantLock lock = new ReentrantLock();
  private final TokenProvider provider;
  private final Executor workers;
  private CompletableFuture<String> header;
  private double goodUntil;

  /** A token that stays. */
  Authorization(String token) {
    provider = null;
    workers = null;
    header = CompletableFuture.completedFuture(bearer(token));
    goodUntil = Double.POSITIVE_INFINITY;
  }

  /** Tokens of a provider, which runs on the executor. */
  Authorization(TokenProvider provider, Executor workers) {
    this.provider = provider;
    this.workers = workers;
    goodUntil = Double.NEGATIVE_INFINITY;
  }

  private static String bearer(String token) {
    if (token == null || !PRINTABLE.matcher(token).matches()) {
      throw new IllegalArgumentException(
          "token: expected printable ASCII without white space");
    }
    return "Bearer " + token;
  }

  boolean renews() {
    return provider != null;
  }

  /** Forgets the token, because the server does not accept it. */
  void refuse() {
    if (renews()) {
      lock.lock();
      try {
        goodUntil = Double.NEGATIVE_INFINITY;
      } finally {
        lock.unlock();
      }
    }
  }

  /** The header. Calls that come while the provider runs share its answer. */
  CompletableFuture<String> get() {
    CompletableFuture<String> asked;
    lock.lock();
    try {
      if (header != null && (!header.isDone() || Times.now() < goodUntil)) {
        return header;
      }
      asked = new CompletableFuture<>();
      header = asked;
    } finally {
      lock.unlock();
    }
    try {
      workers.execute(() -> ask(asked));
    } catch (RejectedExecutionException full) {
      asked.completeExceptionally(failure(full));
    }
    return asked;
  }

  private void ask(CompletableFuture<String> asked) {
    try {
      Token token = provider.token();
      String text = bearer(token.text());
      double lifetime = Times.ms(token.expiresIn());
      // A token of a short life is used for nine tenths of it.
      double margin = Math.min(RENEWED_BEFORE_MS, lifetime / 10);
      lock.lock();
      try {
        goodUntil = Times.now() + lifetime - margin;
      } finally {
        lock.unlock();
      }
      asked.complete(text);
    } catch (IllegalArgumentException error) {
      asked.completeExceptionally(error);
    } catch (Exception error) {
      // Any exception of the provider is a failure of the provider.
      asked.completeExceptionally(Errors.isOutage(error) ? error : failure(error));
    }
  }

  private static RuntimeException failure(Exception cause) {
    return Errors.of(
        Code.UNAVAILABLE,
        "the token provider failed: " + cause.getMessage(),
        ErrorFacts.of("NO_TOKEN").withCause(cause));
  }
}
