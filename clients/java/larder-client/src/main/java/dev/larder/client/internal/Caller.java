package dev.larder.client.internal;

import dev.larder.client.CallObserver;
import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.internal.Counters.Name;
import io.grpc.MethodDescriptor;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Function;

/** Makes calls: retries, breaker, counters, observer and the log of outages. */
final class Caller {
  private static final int ATTEMPTS = 3;
  private static final double FIRST_BACKOFF_MS = 20;
  private static final double LONGEST_BACKOFF_MS = 200;

  private enum State {
    OPEN,
    CLOSING,
    CLOSED
  }

  final Transport transport;
  private final Breaker breaker = new Breaker();
  private final RetryBudget budget = new RetryBudget();
  private final System.Logger logger;
  private final CallObserver observer;
  private final Futures.Timer timer;
  private final AtomicReference<Double> outageSince = new AtomicReference<>();
  private volatile State state = State.OPEN;

  Caller(
      Transport transport, System.Logger logger, CallObserver observer, Futures.Timer timer) {
    this.transport = transport;
    this.logger = logger;
    this.observer = observer;
    this.timer = timer;
  }

  <Q, R> CompletableFuture<R> unary(MethodDescriptor<Q, R> method, Q request, CallSpec spec) {
    return run(method, spec, attempt -> transport.unary(method, request, attempt));
  }

  /** All messages of a stream. */
  <Q, R> CompletableFuture<List<R>> collect(
      MethodDescriptor<Q, R> method, Q request, CallSpec spec) {
    return run(
        method,
        spec,
        attempt -> {
          Collected<R> collected = new Collected<>();
          // The first message may come before the stream is returned.
          collected.flow.complete(transport.stream(method, request, attempt, collected));
          return collected.all;
        });
  }

  private static final class Collected<R> implements Transport.Sink<R> {
    final CompletableFuture<Transport.Flow> flow = new CompletableFuture<>();
    final CompletableFuture<List<R>> all = new CompletableFuture<>();
    private final List<R> messages = new ArrayList<>();

    @Override
    public void message(R message) {
      messages.add(message);
      flow.thenAccept(Transport.Flow::next);
    }

    @Override
    public void end(Throwable error) {
      if (error == null) {
        all.complete(messages);
      } else {
        all.completeExceptionally(error);
      }
    }
  }

  /** The context of the calling thread, for the observer. */
  Object parent() {
    return observer == null ? null : observer.current();
  }

  /** Throws FAILED_PRECONDITION (CLIENT_CLOSED) after the client is closed. */
  void checkOpen() {
    if (state != State.OPEN) {
      throw Errors.of(
          Code.FAILED_PRECONDITION, "the client is closed", ErrorFacts.of("CLIENT_CLOSED"));
    }
  }

  /** Refuses new calls, except those that give leases up. */
  void closing() {
    state = State.CLOSING;
  }

  void close() {
    state = State.CLOSED;
    if (observer != null) {
      observer.close();
    }
    transport.close();
  }

  private <R> CompletableFuture<R> run(
      MethodDescriptor<?, ?> method,
      CallSpec spec,
      Function<Transport.Attempt, CompletableFuture<R>> send) {
    if (state != State.CLOSING || !spec.parting()) {
      try {
        checkOpen();
      } catch (LarderException closed) {
        return Futures.failed(closed);
      }
    }
    Breaker.Permit permit = spec.open() ? breaker.allow() : Breaker.Permit.YES;
    if (permit == Breaker.Permit.NO) {
      spec.count().add(Name.ERRORS);
      return Futures.failed(
          Errors.of(
              Code.UNAVAILABLE,
              "not sent: the calls before have failed",
              ErrorFacts.of("BREAKER_OPEN")));
    }
    CallObserver.Observed observed =
        observer == null
            ? null
            : observer.start(
                method.getBareMethodName(), spec.namespace(), spec.call().parent());
    return new Run<>(spec, send, permit == Breaker.Permit.TRIAL, observed).attempt();
  }

  /** One call with its attempts. */
  private final class Run<R> {
    private final CallSpec spec;
    private final Function<Transport.Attempt, CompletableFuture<R>> send;
    private final boolean trial;
    private final CallObserver.Observed observed;
    private final double started = Times.now();
    private int attempts;
    private boolean renewed;

    Run(
        CallSpec spec,
        Function<Transport.Attempt, CompletableFuture<R>> send,
        boolean trial,
        CallObserver.Observed observed) {
      this.spec = spec;
      this.send = send;
      this.trial = trial;
      this.observed = observed;
    }

    CompletableFuture<R> attempt() {
      attempts++;
      double timeout =
          attempts == 1 ? spec.timeout() : spec.timeout() - (Times.now() - started);
      Map<String, String> headers = observed == null ? Map.of() : observed.headers();
      CompletableFuture<R> sent;
      try {
        sent =
            send.apply(
                new Transport.Attempt(timeout, spec.call().cancellation(), headers));
      } catch (RuntimeException error) {
        sent = Futures.failed(error);
      }
      return Futures.then(sent, this::ended);
    }

    private CompletableFuture<R> ended(R answer, Throwable error) {
      if (error == null) {
        succeeded();
        end(null);
        return CompletableFuture.completedFuture(answer);
      }
      if (!(error instanceof LarderException failure) || spec.call().cancellation().isCancelled()) {
        return left(error);
      }
      if (!renewed && failure.code() == Code.UNAUTHENTICATED && transport.renewsToken()) {
        renewed = true;
        return attempt();
      }
      Optional<Double> delay = retryDelay(failure);
      if (delay.isPresent() && Times.now() - started + delay.get() < spec.timeout()) {
        spec.count().add(Name.RETRIES);
        return Futures.then(
            timer.sleep(delay.get(), spec.call().cancellation()),
            (slept, reason) -> reason == null ? attempt() : left(reason));
      }
      failed(failure, spec, trial);
      end(error);
      return Futures.failed(error);
    }

    /** The caller has left, or its arguments cannot be sent. */
    private CompletableFuture<R> left(Throwable error) {
      breaker.cancelled(trial);
      end(error);
      return Futures.failed(error);
    }

    private void end(Throwable error) {
      if (observed != null) {
        observed.end(error);
      }
    }

    private Optional<Double> retryDelay(LarderException error) {
      if (error.code() != Code.UNAVAILABLE) {
        return Optional.empty();
      }
      boolean budgeted = budget.failure();
      if (!spec.idempotent() || attempts >= ATTEMPTS || !budgeted) {
        return Optional.empty();
      }
      Long pushback = error.pushback();
      if (pushback != null) {
        return pushback >= 0 ? Optional.of((double) pushback) : Optional.empty();
      }
      if (error.retryAfter().isPresent()) {
        return error.retryAfter().map(Times::ms);
      }
      double backoff = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * (1 << (attempts - 1)));
      return Optional.of(backoff * Times.random(0.8, 1.2));
    }
  }

  private void succeeded() {
    breaker.success();
    budget.success();
    if (outageSince.get() == null) {
      return;
    }
    Double since = outageSince.getAndSet(null);
    if (since != null && logger != null) {
      logger.log(
          System.Logger.Level.INFO,
          "the cache answers again after {0} s",
          Math.round((Times.now() - since) / 100) / 10.0);
    }
  }

  private void failed(LarderException error, CallSpec spec, boolean trial) {
    spec.count().add(Name.ERRORS);
    if (!Errors.isOutage(error)) {
      // The server is there, and it is the call that is wrong.
      breaker.success();
      return;
    }
    breaker.failure(trial);
    if (outageSince.compareAndSet(null, Times.now()) && logger != null) {
      logger.log(
          System.Logger.Level.WARNING,
          () ->
              "the cache is away: "
                  + (error.code() + " " + error.reason()).trim()
                  + ", namespace "
                  + spec.namespace()
                  + ": "
                  + error.getMessage());
    }
  }
}
