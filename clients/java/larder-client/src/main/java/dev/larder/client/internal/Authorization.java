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

  /** A provider that has not answered for so long is asked again, in another thread. */
  private static final double PATIENCE_MS = 10_000;

  /** Threads that wait for the provider at most. */
  private static final int MAX_ASKING = 4;

  /** A token is renewed before its end, so that none expires on the way to the server. */
  private static final double RENEWED_BEFORE_MS = 30_000;

  private final ReentrantLock lock = new ReentrantLock();
  private final TokenProvider provider;
  private final Executor workers;
  private CompletableFuture<String> header;
  private double askedAt;
  private int asking;
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

  /** Forgets a header that the server does not accept. A newer one stays. */
  void refuse(String refused) {
    if (renews()) {
      lock.lock();
      try {
        boolean current =
            header != null
                && header.isDone()
                && !header.isCompletedExceptionally()
                && header.join().equals(refused);
        if (current) {
          goodUntil = Double.NEGATIVE_INFINITY;
        }
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
      double now = Times.now();
      boolean waits = now < askedAt + PATIENCE_MS || asking >= MAX_ASKING;
      if (header != null && (header.isDone() ? now < goodUntil : waits)) {
        return header;
      }
      asking++;
      asked = new CompletableFuture<>();
      header = asked;
      askedAt = now;
    } finally {
      lock.unlock();
    }
    try {
      workers.execute(
          () -> {
            ask(asked);
            answered();
          });
    } catch (RejectedExecutionException full) {
      answered();
      asked.completeExceptionally(failure(full));
    }
    return asked;
  }

  private void answered() {
    lock.lock();
    try {
      asking--;
    } finally {
      lock.unlock();
    }
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
        if (header == asked) {
          goodUntil = Times.now() + lifetime - margin;
        }
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
