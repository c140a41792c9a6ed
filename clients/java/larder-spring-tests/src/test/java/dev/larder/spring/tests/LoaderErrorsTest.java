package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.spring.LarderCache;
import dev.larder.spring.LarderCacheManager;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.springframework.cache.Cache;

/** Errors of loaders that have a meaning for the cache, too, and of the executor. */
class LoaderErrorsTest {
  private static LarderException outage() {
    try (LarderClient none = LarderClient.builder().target("127.0.0.1:1").logger(null).build()) {
      return assertThrows(
          LarderException.class, () -> none.namespace("n", String.class).delete("k"));
    }
  }

  private static void await(CountDownLatch latch) throws InterruptedException {
    assertTrue(latch.await(20, TimeUnit.SECONDS), "it does not come");
  }

  @Test
  void anOutageOfAnotherCacheIsAnErrorOfTheLoaderForAllCallers() throws Exception {
    LarderException failure = outage();
    try (LarderClient client = TestServer.client(TestServer.target()).build()) {
      LarderCache cache =
          LarderCacheManager.builder(client).build().cache(TestServer.fresh("errors"));
      CountDownLatch begun = new CountDownLatch(1);
      CountDownLatch joined = new CountDownLatch(1);
      FutureTask<Object> first =
          new FutureTask<>(
              () ->
                  cache.get(
                      "k",
                      () -> {
                        begun.countDown();
                        await(joined);
                        throw failure;
                      }));
      FutureTask<Object> second =
          new FutureTask<>(() -> cache.get("k", () -> "the loader of the second"));
      new Thread(first).start();
      await(begun);
      Thread joining = new Thread(second);
      joining.start();
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      while (joining.getState() != Thread.State.WAITING
          && joining.getState() != Thread.State.TIMED_WAITING) {
        assertTrue(System.nanoTime() < deadline, "it does not join");
        Thread.onSpinWait();
      }
      joined.countDown();
      assertFailed(first, failure);
      assertFailed(second, failure);
    }
  }

  private static void assertFailed(FutureTask<Object> call, Throwable failure) {
    ExecutionException error =
        assertThrows(ExecutionException.class, () -> call.get(20, TimeUnit.SECONDS));
    Throwable wrapped =
        assertInstanceOf(Cache.ValueRetrievalException.class, error.getCause()).getCause();
    assertSame(failure, wrapped);
  }

  @Test
  void anErrorOfTheExecutorEndsTheCall() throws Exception {
    AtomicInteger tasks = new AtomicInteger();
    Executor broken =
        task -> {
          if (tasks.incrementAndGet() > 1) {
            throw new OutOfMemoryError("on purpose: no thread");
          }
          task.run();
        };
    try (LarderClient client = TestServer.client(TestServer.target()).build()) {
      LarderCache cache =
          LarderCacheManager.builder(client)
              .executor(broken)
              .build()
              .cache(TestServer.fresh("errors"));
      CompletableFuture<String> source = new CompletableFuture<>();
      CompletableFuture<String> loaded = cache.retrieve("k", () -> source);
      source.complete("value");
      ExecutionException error =
          assertThrows(ExecutionException.class, () -> loaded.get(20, TimeUnit.SECONDS));
      assertInstanceOf(OutOfMemoryError.class, error.getCause());
    }
  }
}
