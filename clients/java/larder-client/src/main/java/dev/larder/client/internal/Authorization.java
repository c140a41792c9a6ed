package dev.larder.client.internal;

import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException.Code;
import dev.larder.client.Token;
import dev.larder.client.TokenProvider;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.DoubleSupplier;
import java.util.regex.Pattern;

/** Keeps the header {@code authorization}, and asks the provider for a new token when it must. */
final class Authorization {
  private static final Pattern PRINTABLE = Pattern.compile("[\\x21-\\x7e]+");

  /** A provider that has not answered for so long is asked again, in another thread. */
  private static final double PATIENCE_MS = 10_000;

  /** Threads that wait for the provider at most. */
  private static final int MAX_ASKING = 4;

  /** A thread that has waited for so long is interrupted, and counts no more. */
  private static final double HUNG_MS = 60_000;

  /** A token is renewed before its end, so that none expires on the way to the server. */
  private static final double RENEWED_BEFORE_MS = 30_000;

  /** A provider that has failed is not asked by each call. */
  private static final double PAUSE_MS = 1_000;

  private final ReentrantLock lock = new ReentrantLock();
  private final TokenProvider provider;
  private final Executor workers;
  private final DoubleSupplier clock;

  /** Null: there is none that can be used. */
  private String header;

  private double renewedAt;
  private double goodUntil;

  /** The last question; null: there was none. */
  private CompletableFuture<String> asked;

  private double askedAt;
  private double pausedUntil = Double.NEGATIVE_INFINITY;
  private final List<Asking> asking = new ArrayList<>();

  /** A thread that waits for the provider. */
  private static final class Asking {
    final double since;

    /** Null: it has not begun. */
    Thread thread;

    Asking(double since) {
      this.since = since;
    }
  }

  /** A token that stays. */
  Authorization(String token) {
    provider = null;
    workers = null;
    clock = Times::now;
    header = bearer(token);
    renewedAt = Double.POSITIVE_INFINITY;
    goodUntil = Double.POSITIVE_INFINITY;
  }

  /** Tokens of a provider, which runs on the executor. */
  Authorization(TokenProvider provider, Executor workers) {
    this(provider, workers, Times::now);
  }

  /** As above, with a clock of milliseconds. */
  Authorization(TokenProvider provider, Executor workers, DoubleSupplier clock) {
    this.provider = provider;
    this.workers = workers;
    this.clock = clock;
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
        if (header != null && header.equals(refused)) {
          header = null;
        }
      } finally {
        lock.unlock();
      }
    }
  }

  /**
   * The header. Calls that come while the provider runs share its answer, or use the token of now
   * until its end.
   */
  CompletableFuture<String> get() {
    CompletableFuture<String> question;
    CompletableFuture<String> answer;
    Asking own;
    lock.lock();
    try {
      double now = clock.getAsDouble();
      boolean good = isGood(now);
      answer = good ? CompletableFuture.completedFuture(header) : asked;
      if (good && now < renewedAt || !mayAsk(now)) {
        return answer;
      }
      own = new Asking(now);
      asking.add(own);
      question = new CompletableFuture<>();
      asked = question;
      askedAt = now;
      answer = good ? answer : question;
    } finally {
      lock.unlock();
    }
    try {
      workers.execute(() -> ask(question, own));
    } catch (RejectedExecutionException full) {
      answered(own);
      fail(question, failure(full));
    }
    return answer;
  }

  private boolean isGood(double now) {
    return header != null && now < goodUntil;
  }

  /** Whether the provider is to be asked now. Under the lock. */
  private boolean mayAsk(double now) {
    if (asked == null) {
      return true;
    }
    if (asked.isDone()) {
      return !asked.isCompletedExceptionally() || now >= pausedUntil;
    }
    asking.removeIf(
        each -> {
          boolean hung = now >= each.since + HUNG_MS;
          if (hung && each.thread != null) {
            each.thread.interrupt();
          }
          return hung;
        });
    return now >= askedAt + PATIENCE_MS && asking.size() < MAX_ASKING;
  }

  private void begun(Asking own) {
    lock.lock();
    try {
      own.thread = Thread.currentThread();
    } finally {
      lock.unlock();
    }
  }

  private void answered(Asking own) {
    lock.lock();
    try {
      asking.remove(own);
      own.thread = null;
    } finally {
      lock.unlock();
    }
  }

  private void ask(CompletableFuture<String> question, Asking own) {
    begun(own);
    Token token;
    try {
      token = provider.token();
    } catch (Throwable error) {
      // Whatever the provider throws is its failure, also an Error: no call waits for ever.
      fail(question, Errors.isOutage(error) ? error : failure(error));
      return;
    } finally {
      answered(own);
      // The next work of the thread must not see that this one was given up.
      Thread.interrupted();
    }
    try {
      take(question, bearer(token.text()), Times.ms(token.expiresIn()));
    } catch (IllegalArgumentException error) {
      fail(question, error);
    } catch (RuntimeException error) {
      fail(question, failure(error));
    }
  }

  private void take(CompletableFuture<String> question, String text, double lifetime) {
    lock.lock();
    try {
      double now = clock.getAsDouble();
      // A late answer does not replace that of a later question.
      if (asked == question || !isGood(now)) {
        header = text;
        goodUntil = now + lifetime;
        // A token of a short life is used for nine tenths of it.
        renewedAt = goodUntil - Math.min(RENEWED_BEFORE_MS, lifetime / 10);
      }
    } finally {
      lock.unlock();
    }
    question.complete(text);
  }

  private void fail(CompletableFuture<String> question, Throwable error) {
    lock.lock();
    try {
      pausedUntil = clock.getAsDouble() + PAUSE_MS;
    } finally {
      lock.unlock();
    }
    question.completeExceptionally(error);
  }

  private static RuntimeException failure(Throwable cause) {
    return Errors.of(
        Code.UNAVAILABLE,
        "the token provider failed: " + cause.getMessage(),
        ErrorFacts.of("NO_TOKEN").withCause(cause));
  }
}
