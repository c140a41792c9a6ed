package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;

import dev.larder.client.Token;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** Tokens of a provider. */
class AuthorizationTest {
  private final AtomicInteger asked = new AtomicInteger();

  @Test
  void onlyTheTokenOfNowIsForgotten() {
    Authorization tokens =
        new Authorization(() -> Token.of("t" + asked.incrementAndGet()), Runnable::run);
    assertEquals("Bearer t1", tokens.get().join());
    tokens.refuse("Bearer t1");
    assertEquals("Bearer t2", tokens.get().join());
    // Other calls that were made with the first token are refused later.
    tokens.refuse("Bearer t1");
    tokens.refuse("Bearer t1");
    assertEquals("Bearer t2", tokens.get().join());
    assertEquals(2, asked.get());
  }

  @Test
  void callsShareAnAnswerThatIsOnItsWay() {
    CountDownLatch answer = new CountDownLatch(1);
    ExecutorService workers = Workers.start();
    try {
      Authorization tokens =
          new Authorization(
              () -> {
                answer.await();
                return Token.of("t" + asked.incrementAndGet());
              },
              workers);
      CompletableFuture<String> first = tokens.get();
      assertSame(first, tokens.get());
      answer.countDown();
      assertEquals("Bearer t1", first.join());
      tokens.refuse("Bearer t1");
      assertNotSame(first, tokens.get());
    } finally {
      answer.countDown();
      workers.shutdownNow();
    }
  }
}
