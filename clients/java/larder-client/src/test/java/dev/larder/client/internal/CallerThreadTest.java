package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.larder.client.LarderException;
import dev.larder.client.LoadContext;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import org.junit.jupiter.api.Test;

/** A thread that waits for a call, and leaves. */
class CallerThreadTest {
  @Test
  void aLoaderWithoutAThreadEndsAndTheInterruptIsSeen() {
    CallerThread thread =
        new CallerThread(
            action -> {
              throw new RejectedExecutionException("full");
            });
    CompletableFuture<String> value =
        Load.<String>blocking(context -> "v").begin(new LoadContext(), thread);
    Thread.currentThread().interrupt();
    assertThrows(
        InterruptedException.class, () -> thread.await(new CompletableFuture<String>()));
    CompletionException thrown = assertThrows(CompletionException.class, value::join);
    assertEquals(
        "NO_THREAD", assertInstanceOf(LarderException.class, thrown.getCause()).reason());
  }
}
