package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderException;
import dev.larder.client.Token;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
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

  /** Questions that a test lets run when it wants to. */
  private final Deque<Runnable> questions = new ArrayDeque<>();

  private final AtomicReference<Double> now = new AtomicReference<>(0.0);

  private static String reason(CompletableFuture<String> failed) {
    CompletionException thrown = assertThrows(CompletionException.class, failed::join);
    return assertInstanceOf(LarderException.class, thrown.getCause()).reason();
  }

  @Test
  void theTokenOfNowIsUsedUntilItsEndWhileItIsRenewed() {
    AtomicBoolean fails = new AtomicBoolean();
    Authorization tokens =
        new Authorization(
            () -> {
              asked.incrementAndGet();
              if (fails.get()) {
                throw new IOException("no token service");
              }
              return new Token("t" + asked.get(), Duration.ofSeconds(600));
            },
            questions::add,
            now::get);
    CompletableFuture<String> first = tokens.get();
    questions.remove().run();
    assertEquals("Bearer t1", first.join());
    now.set(569_000.0);
    assertEquals("Bearer t1", tokens.get().join());
    assertEquals(0, questions.size());
    now.set(571_000.0);
    assertEquals("Bearer t1", tokens.get().join());
    assertEquals("Bearer t1", tokens.get().join());
    assertEquals(1, questions.size());
    fails.set(true);
    questions.remove().run();
    // The next question is asked after a pause.
    now.set(571_500.0);
    assertEquals("Bearer t1", tokens.get().join());
    assertEquals(0, questions.size());
    now.set(572_500.0);
    assertEquals("Bearer t1", tokens.get().join());
    fails.set(false);
    questions.remove().run();
    assertEquals("Bearer t3", tokens.get().join());
    // Without a token that is good, calls wait for the provider.
    now.set(1_200_000.0);
    CompletableFuture<String> late = tokens.get();
    assertFalse(late.isDone());
    fails.set(true);
    questions.remove().run();
    assertEquals("NO_TOKEN", reason(late));
    assertEquals("NO_TOKEN", reason(tokens.get()));
    assertEquals(0, questions.size());
  }

  @Test
  void whateverAProviderThrowsIsItsFailure() {
    for (Throwable error :
        List.of(new NoClassDefFoundError("x"), new IllegalArgumentException("x"))) {
      AtomicBoolean fails = new AtomicBoolean(true);
      now.set(0.0);
      Authorization tokens =
          new Authorization(
              () -> {
                if (fails.get()) {
                  throw Errors.<RuntimeException>sneaky(error);
                }
                return Token.of("t");
              },
              Runnable::run,
              now::get);
      for (int failure = 1; failure <= 6; failure++) {
        assertEquals("NO_TOKEN", reason(tokens.get()));
        now.set(failure * 10_001.0);
      }
      fails.set(false);
      assertEquals("Bearer t", tokens.get().join());
    }
    Authorization broken = new Authorization(() -> Token.of("a b"), Runnable::run);
    CompletionException thrown = assertThrows(CompletionException.class, broken.get()::join);
    assertInstanceOf(IllegalArgumentException.class, thrown.getCause());
  }

  @Test
  void aProviderThatHangsIsAskedAgain() throws Exception {
    CountDownLatch never = new CountDownLatch(1);
    CountDownLatch interrupted = new CountDownLatch(4);
    CountDownLatch hanging = new CountDownLatch(4);
    ExecutorService workers = Workers.start();
    try {
      Authorization tokens =
          new Authorization(
              () -> {
                if (asked.incrementAndGet() <= 4) {
                  hanging.countDown();
                  try {
                    never.await();
                  } catch (InterruptedException hung) {
                    interrupted.countDown();
                    throw hung;
                  }
                }
                return Token.of("t");
              },
              workers,
              now::get);
      for (int hung = 0; hung < 4; hung++) {
        now.set(hung * 10_000.0);
        assertFalse(tokens.get().isDone());
      }
      assertTrue(hanging.await(20, TimeUnit.SECONDS));
      now.set(50_000.0);
      assertFalse(tokens.get().isDone());
      assertEquals(4, asked.get());
      now.set(100_000.0);
      assertEquals("Bearer t", tokens.get().get(20, TimeUnit.SECONDS));
      assertTrue(interrupted.await(20, TimeUnit.SECONDS));
    } finally {
      never.countDown();
      workers.shutdownNow();
    }
  }

  @Test
  void aTokenIsNotPrinted() {
    assertFalse(Token.of("secret").toString().contains("secret"));
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
