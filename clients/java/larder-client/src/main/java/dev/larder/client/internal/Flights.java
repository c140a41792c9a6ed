package dev.larder.client.internal;

import dev.larder.client.Result;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.function.Predicate;

/**
 * Computations of this process by key: later calls for a key join the first (singleflight). One
 * that all its callers have left is cancelled.
 */
final class Flights {
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<Object, Flight> flights = new HashMap<>();
  private final Futures.Timer timer;

  Flights(Futures.Timer timer) {
    this.timer = timer;
  }

  private static final class Flight {
    final String namespace;
    final String key;
    final CompletableFuture<Result<?>> promise = new CompletableFuture<>();
    final Cancellation cancellation = new Cancellation();
    int callers;

    /** The computation of those that joined and could not use the result of this one. */
    Flight next;

    Flight(String namespace, String key) {
      this.namespace = namespace;
      this.key = key;
    }
  }

  /**
   * A call that may join.
   *
   * @param id equal for calls that can share a computation
   * @param timeout milliseconds for the computation of another call; infinite: no limit
   * @param compute computes for a call, which is cancelled when its callers have left
   */
  record Passenger<V>(
      Object id,
      String namespace,
      String key,
      Call call,
      double timeout,
      Function<Call, CompletableFuture<Result<V>>> compute) {}

  /** A result, and whether another call has computed it. */
  record Answer<V>(Result<V> result, boolean joined) {}

  private static final class Late extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Late() {
      super("the computation takes too long", null, false, false);
    }
  }

  /**
   * Whether a result is an answer to a call that began after the computation. A value that was read
   * or computed before an invalidation is none, and only a fill that is stored says that there was
   * no invalidation.
   */
  private static boolean isLasting(Result<?> result) {
    return result.degraded()
        || result.facts().stored() != null && result.facts().stored().stored();
  }

  /** Computes, or joins a computation. Null: the one that it joined takes too long. */
  <V> CompletableFuture<Answer<V>> run(Passenger<V> passenger) {
    Flight own = null;
    Flight running;
    lock.lock();
    try {
      running = flights.get(passenger.id());
      if (running == null) {
        own = register(passenger);
      }
    } finally {
      lock.unlock();
    }
    if (own != null) {
      return lead(own, passenger);
    }
    double ending = Times.now() + passenger.timeout();
    Flight joined = running;
    return Futures.then(
        this.<V>join(joined, passenger, ending),
        (first, error) -> {
          if (error instanceof Late) {
            return CompletableFuture.completedFuture(null);
          }
          if (error != null && !(error instanceof LoaderInterrupted)) {
            return Futures.failed(error);
          }
          if (error == null && isLasting(first)) {
            return CompletableFuture.completedFuture(new Answer<>(first, true));
          }
          return again(joined, passenger, ending);
        });
  }

  /** All that joined ask again, together: what began after them is an answer to them. */
  private <V> CompletableFuture<Answer<V>> again(
      Flight before, Passenger<V> passenger, double ending) {
    Flight own = null;
    Flight next;
    lock.lock();
    try {
      if (before.next == null) {
        Flight later = flights.get(passenger.id());
        before.next = later == before ? null : later;
      }
      if (before.next == null) {
        own = register(passenger);
        before.next = own;
      }
      next = before.next;
    } finally {
      lock.unlock();
    }
    if (own != null) {
      return lead(own, passenger);
    }
    return Futures.then(
        this.<V>join(next, passenger, ending),
        (second, error) -> {
          if (error instanceof Late) {
            return CompletableFuture.completedFuture(null);
          }
          if (error instanceof LoaderInterrupted) {
            return again(next, passenger, ending);
          }
          return error != null
              ? Futures.failed(error)
              : CompletableFuture.completedFuture(new Answer<>(second, true));
        });
  }

  private Flight register(Passenger<?> passenger) {
    Flight flight = new Flight(passenger.namespace(), passenger.key());
    flights.put(passenger.id(), flight);
    return flight;
  }

  private <V> CompletableFuture<Answer<V>> lead(Flight flight, Passenger<V> passenger) {
    CompletableFuture<Result<V>> boarded = board(flight, passenger.call().cancellation());
    CompletableFuture<Result<V>> computed;
    try {
      Call call = passenger.call();
      computed = passenger.compute().apply(call.with(flight.cancellation, call.loaders()));
    } catch (RuntimeException error) {
      computed = Futures.failed(error);
    }
    computed.whenComplete(
        (value, error) -> {
          remove(each -> each == flight);
          if (error == null) {
            flight.promise.complete(value);
          } else {
            flight.promise.completeExceptionally(Errors.unwrap(error));
          }
        });
    return boarded.thenApply(result -> new Answer<>(result, false));
  }

  private <V> CompletableFuture<Result<V>> join(
      Flight flight, Passenger<V> passenger, double ending) {
    if (Double.isInfinite(ending)) {
      return board(flight, passenger.call().cancellation());
    }
    Cancellation outer = passenger.call().cancellation();
    Cancellation leaving = new Cancellation();
    Runnable forget = outer.onCancel(() -> leaving.cancel(outer.reason()));
    ScheduledFuture<?> late =
        timer.after(Math.max(0, ending - Times.now()), () -> leaving.cancel(new Late()));
    CompletableFuture<Result<V>> boarded = board(flight, leaving);
    boarded.whenComplete(
        (value, error) -> {
          forget.run();
          if (late != null) {
            late.cancel(false);
          }
        });
    return boarded;
  }

  /** Waits for a computation, which ends when the last that waits has left. */
  private <V> CompletableFuture<Result<V>> board(Flight flight, Cancellation cancellation) {
    lock.lock();
    try {
      flight.callers++;
    } finally {
      lock.unlock();
    }
    CompletableFuture<Result<V>> result = new CompletableFuture<>();
    Runnable forget =
        cancellation.onCancel(
            () -> {
              if (result.completeExceptionally(cancellation.reason())) {
                leave(flight, cancellation.reason());
              }
            });
    flight.promise.whenComplete(
        (value, error) -> {
          forget.run();
          if (error == null) {
            @SuppressWarnings("unchecked") // Its id says which type the flight has.
            Result<V> typed = (Result<V>) value;
            result.complete(typed);
          } else {
            result.completeExceptionally(error);
          }
        });
    return result;
  }

  private void leave(Flight flight, Throwable reason) {
    boolean last;
    lock.lock();
    try {
      flight.callers--;
      last = flight.callers == 0;
    } finally {
      lock.unlock();
    }
    if (last) {
      end(flight, reason);
    }
  }

  private void end(Flight flight, Throwable reason) {
    // The next call does not join a computation that is being cancelled.
    remove(each -> each == flight);
    flight.cancellation.cancel(reason);
  }

  private void remove(Predicate<Flight> concerned) {
    lock.lock();
    try {
      flights.values().removeIf(concerned);
    } finally {
      lock.unlock();
    }
  }

  /** Later calls do not join the computations of now: what they compute was invalidated. */
  void forget(String namespace, Predicate<String> concerns) {
    remove(
        flight ->
            (namespace == null || flight.namespace.equals(namespace))
                && concerns.test(flight.key));
  }

  /** Cancels all computations, and ends when they have ended. */
  CompletableFuture<Void> close(Throwable reason) {
    List<Flight> all;
    lock.lock();
    try {
      all = new ArrayList<>(flights.values());
    } finally {
      lock.unlock();
    }
    all.forEach(flight -> end(flight, reason));
    return CompletableFuture.allOf(
        all.stream()
            .map(flight -> flight.promise.handle((value, error) -> null))
            .toArray(CompletableFuture<?>[]::new));
  }
}
