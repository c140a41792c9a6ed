package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.Result;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Computations that calls share. */
class FlightsTest {
  private final ExecutorService workers = Workers.start();
  private final Futures.Timer timer = new Futures.Timer(workers);
  private final Flights flights = new Flights(timer, Runnable::run);
  private final List<CompletableFuture<Result<String>>> computations = new ArrayList<>();
  private final List<Call> calls = new ArrayList<>();

  @AfterEach
  void close() {
    timer.close();
    workers.shutdownNow();
  }

  private static Call call() {
    return new Call(new Cancellation(), null, Runnable::run, null);
  }

  private CompletableFuture<Flights.Answer<String>> run(Call call) {
    return flights.run(
        new Flights.Passenger<String>(
            "id",
            "names",
            "k",
            call,
            Double.POSITIVE_INFINITY,
            own -> {
              CompletableFuture<Result<String>> computed = new CompletableFuture<>();
              computations.add(computed);
              calls.add(own);
              own.cancellation()
                  .onCancel(() -> computed.completeExceptionally(own.cancellation().reason()));
              return computed;
            }));
  }

  private static Result<String> hit(String value) {
    return Results.loaded(value, null, List.of(), false, null);
  }

  @Test
  void noCallGetsTheReasonOfAnother() {
    CompletableFuture<Flights.Answer<String>> first = run(call());
    Call leaving = call();
    CompletableFuture<Flights.Answer<String>> second = run(leaving);
    CompletableFuture<Flights.Answer<String>> third = run(call());
    // The second call computes again, since the result is none for it, and leaves at once.
    computations.get(0).whenComplete((value, error) -> {});
    leaving.cancellation().onCancel(() -> {});
    CompletableFuture<Void> left =
        first.thenAccept(
            answer -> leaving.cancellation().cancel(Errors.cancelled("it has left", null)));
    computations.get(0).complete(hit("a"));
    left.join();
    assertInstanceOf(
        CompletionException.class,
        second.handle((value, error) -> error).join(),
        "the second call has left");
    assertFalse(third.isCompletedExceptionally());
    int last = computations.size() - 1;
    assertFalse(calls.get(last).cancellation().isCancelled());
    computations.get(last).complete(hit("b"));
    assertEquals("b", third.join().result().value());
  }

  @Test
  void oneThatAllHaveLeftIsNotJoined() {
    Call leaving = call();
    CompletableFuture<Flights.Answer<String>> first = run(leaving);
    leaving.cancellation().cancel(Errors.cancelled("it has left", null));
    assertTrue(first.isCompletedExceptionally());
    CompletableFuture<Flights.Answer<String>> second = run(call());
    assertEquals(2, computations.size());
    computations.get(1).complete(hit("b"));
    assertFalse(second.join().joined());
  }

  @Test
  void closeEndsThoseThatWereForgotten() {
    CompletableFuture<Flights.Answer<String>> first = run(call());
    flights.forget("names", key -> true);
    CompletableFuture<Flights.Answer<String>> second = run(call());
    assertEquals(2, computations.size());
    flights.close(Errors.closed()).join();
    assertTrue(first.isCompletedExceptionally());
    assertTrue(second.isCompletedExceptionally());
  }
}
