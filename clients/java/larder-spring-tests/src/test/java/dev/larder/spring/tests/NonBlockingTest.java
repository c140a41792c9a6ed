package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.spring.LarderCacheManager;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.springframework.cache.Cache;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/** Threads of Reactor, which must not wait. */
class NonBlockingTest {
  @Test
  void aPutDoesNotWait() throws IOException {
    // It takes connections and answers nothing: a put that waits takes as long as the client lets.
    try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        LarderClient client =
            LarderClient.builder()
                .target("127.0.0.1:" + silent.getLocalPort())
                .callTimeout(Duration.ofMinutes(1))
                .logger(null)
                .build()) {
      Cache cache = LarderCacheManager.builder(client).build().getCache("c");
      Mono.fromRunnable(() -> cache.put("k", 1))
          .subscribeOn(Schedulers.parallel())
          .block(Duration.ofSeconds(30));
    }
  }

  @Test
  void aPutArrives() {
    try (LarderClient client = TestServer.client(TestServer.target()).build()) {
      Cache cache =
          LarderCacheManager.builder(client).build().getCache(TestServer.fresh("r"));
      boolean blocking =
          Mono.fromCallable(
                  () -> {
                    cache.put("k", 1);
                    return !Schedulers.isInNonBlockingThread();
                  })
              .subscribeOn(Schedulers.parallel())
              .block(Duration.ofSeconds(20));
      assertFalse(blocking);
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      while (cache.get("k") == null) {
        assertTrue(System.nanoTime() < deadline, "it does not come");
        Thread.onSpinWait();
      }
      assertEquals(1, cache.get("k").get());
    }
  }
}
