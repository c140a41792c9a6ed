package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.spring.LarderCache;
import dev.larder.spring.LarderCacheConfiguration;
import dev.larder.spring.LarderCacheManager;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Entries of other programs that are no values of a cache. */
class UnusableEntriesTest {
  private static LarderClient client;
  private static LarderCache numbers;
  private static LarderCache strict;

  @BeforeAll
  static void connect() {
    client =
        TestServer.client(TestServer.target()).namespacePrefix(TestServer.fresh("u")).build();
    LarderCacheManager manager =
        LarderCacheManager.builder(client)
            .cache("numbers", LarderCacheConfiguration.DEFAULTS.type(Integer.class))
            .cache("strict", LarderCacheConfiguration.DEFAULTS.nullValues(false))
            .build();
    numbers = manager.cache("numbers");
    strict = manager.cache("strict");
  }

  @AfterAll
  static void close() {
    client.close();
  }

  private static void store(LarderCache cache, String key, Object value) {
    assertTrue(client.namespace(cache.getName(), Object.class).set(key, value).stored());
  }

  @Test
  void putIfAbsentReplacesThem() {
    store(numbers, "put", "no number");
    assertNull(numbers.get("put"));
    assertNull(numbers.putIfAbsent("put", 7));
    assertEquals(7, numbers.get("put").get());
    assertEquals(7, numbers.putIfAbsent("put", 8).get());
    store(strict, "put", null);
    assertNull(strict.get("put"));
    assertNull(strict.putIfAbsent("put", "value"));
    assertEquals("value", strict.get("put").get());
  }

  @Test
  void loadersReplaceThem() throws Exception {
    AtomicInteger loads = new AtomicInteger();
    store(numbers, "load", "no number");
    store(strict, "load", null);
    assertEquals(1, numbers.get("load", loads::incrementAndGet));
    assertEquals(1, numbers.get("load", loads::incrementAndGet));
    assertEquals(2, strict.get("load", loads::incrementAndGet));
    assertEquals(2, strict.get("load", loads::incrementAndGet));
    store(numbers, "later", "no number");
    store(strict, "later", null);
    for (int round = 0; round < 2; round++) {
      assertEquals(3, later(numbers, loads));
    }
    for (int round = 0; round < 2; round++) {
      assertEquals(4, later(strict, loads));
    }
  }

  private static Integer later(LarderCache cache, AtomicInteger loads) throws Exception {
    return cache
        .retrieve("later", () -> CompletableFuture.completedFuture(loads.incrementAndGet()))
        .get(20, TimeUnit.SECONDS);
  }
}
