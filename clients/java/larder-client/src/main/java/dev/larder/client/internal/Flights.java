package dev.larder.client.internal;

import dev.larder.client.Result;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
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

  /** All that run, those too that no call joins any more. */
  private final Set<Flight> running = new HashSet<>();

  private final Futures.Timer timer;
  private final Executor workers;

  Flights(Futures.Timer timer, Executor workers) {
    this.timer = timer;
    this.workers = workers;
  }

  private static final class Flight {
    final Object id;
    final String namespace;
    final String key;
    final CompletableFuture<Result<?>> promise = new CompletableFuture<>();
    final Cancellation cancellation = new Cancellation();

    /** Those that wait for it. Without any it is cancelled, and no call may join. */
    int callers = 1;

    /** The computation of those that joined and could not use the result of this one. */
    Flight next;

    Flight(Passenger<?> first) {
      this.id = first.id();
      this.namespace = first.namespace();
      this.key = first.key();
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
    Flight joined;
    boolean leads;
    lock.lock();
    try {
      Flight present = flights.get(passenger.id());
      leads = present == null;
      joined = leads ? register(passenger) : boarded(present);
    } finally {
      lock.unlock();
    }
    if (leads) {
      return lead(joined, passenger);
    }
    double ending = Times.now() + passenger.timeout();
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
    Flight next;
    boolean leads;
    lock.lock();
    try {
      if (before.next == null || before.next.callers == 0) {
        // One that its callers have left ends with their reason, which is none of this call.
        Flight later = flights.get(passenger.id());
        before.next = later == before ? null : later;
      }
      leads = before.next == null;
      if (leads) {
        before.next = register(passenger);
      } else {
        boarded(before.next);
      }
      next = before.next;
    } finally {
      lock.unlock();
    }
    if (leads) {
      return lead(next, passenger);
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

  /** A flight with its first caller. Under the lock. */
  private Flight register(Passenger<?> passenger) {
    Flight flight = new Flight(passenger);
    flights.put(flight.id, flight);
    running.add(flight);
    return flight;
  }

  /** The flight with one more caller. Under the lock, so that it is not left meanwhile. */
  private static Flight boarded(Flight flight) {
    flight.callers++;
    return flight;
  }

  private <V> CompletableFuture<Answer<V>> lead(Flight flight, Passenger<V> passenger) {
    CompletableFuture<Result<V>> seat =
        seat(flight, passenger.call().cancellation(), Runnable::run);
    CompletableFuture<Result<V>> computed;
    try {
      Call call = passenger.call();
      computed = passenger.compute().apply(call.with(flight.cancellation));
    } catch (RuntimeException error) {
      computed = Futures.failed(error);
    }
    computed.whenComplete(
        (value, error) -> {
          landed(flight);
          if (error == null) {
            flight.promise.complete(value);
          } else {
            flight.promise.completeExceptionally(Errors.unwrap(error));
          }
        });
    return seat.thenApply(result -> new Answer<>(result, false));
  }

  private <V> CompletableFuture<Result<V>> join(
      Flight flight, Passenger<V> passenger, double ending) {
    if (Double.isInfinite(ending)) {
      return seat(flight, passenger.call().cancellation(), this::work);
    }
    Cancellation outer = passenger.call().cancellation();
    Cancellation leaving = new Cancellation();
    Runnable forget = outer.onCancel(() -> leaving.cancel(outer.reason()));
    ScheduledFuture<?> late =
        timer.after(Math.max(0, ending - Times.now()), () -> leaving.cancel(new Late()));
    CompletableFuture<Result<V>> seat = seat(flight, leaving, this::work);
    seat.whenComplete(
        (value, error) -> {
          forget.run();
          if (late != null) {
            late.cancel(false);
          }
        });
    return seat;
  }

  /** Waits for a computation, which ends when the last that waits has left. */
  private <V> CompletableFuture<Result<V>> seat(
      Flight flight, Cancellation cancellation, Executor executor) {
    CompletableFuture<Result<V>> result = new CompletableFuture<>();
    Runnable forget =
        cancellation.onCancel(
            () -> {
              if (result.completeExceptionally(cancellation.reason())) {
                leave(flight, cancellation.reason());
              }
            });
    flight.promise.whenCompleteAsync(
        (value, error) -> {
          forget.run();
          if (error == null) {
            @SuppressWarnings("unchecked") // Its id says which type the flight has.
            Result<V> typed = (Result<V>) value;
            result.complete(typed);
          } else {
            result.completeExceptionally(error);
          }
        },
        executor);
    return result;
  }

  /** What a call that joined goes on with must not run in the thread of the first call. */
  private void work(Runnable action) {
    try {
      workers.execute(action);
    } catch (RejectedExecutionException full) {
      action.run();
    }
  }

  private void leave(Flight flight, Throwable reason) {
    boolean last;
    lock.lock();
    try {
      flight.callers--;
      last = flight.callers == 0;
      if (last) {
        flights.remove(flight.id, flight);
      }
    } finally {
      lock.unlock();
    }
    if (last) {
      flight.cancellation.cancel(reason);
    }
  }

  private void landed(Flight flight) {
    lock.lock();
    try {
      flights.remove(flight.id, flight);
      running.remove(flight);
    } finally {
      lock.unlock();
    }
  }

  /** Later calls do not join the computations of now: what they compute was invalidated. */
  void forget(String namespace, Predicate<String> concerns) {
    lock.lock();
    try {
      flights
          .values()
          .removeIf(
              flight ->
                  (namespace == null || flight.namespace.equals(namespace))
                      && concerns.test(flight.key));
    } finally {
      lock.unlock();
    }
  }

  /** Cancels all computations, and ends when they have ended. */
  CompletableFuture<Void> close(Throwable reason) {
    List<Flight> all;
    lock.lock();
    try {
      all = new ArrayList<>(running);
      flights.clear();
    } finally {
      lock.unlock();
    }
    all.forEach(flight -> flight.cancellation.cancel(reason));
    return CompletableFuture.allOf(
        all.stream()
            .map(flight -> flight.promise.handle((value, error) -> null))
            .toArray(CompletableFuture<?>[]::new));
  }
}
