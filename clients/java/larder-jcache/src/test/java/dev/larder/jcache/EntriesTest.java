package dev.larder.jcache;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.testing.FakeFailure;
import dev.larder.testing.FakeLarder;
import java.lang.management.ManagementFactory;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Instant;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import javax.cache.Cache;
import javax.cache.CacheException;
import javax.cache.CacheManager;
import javax.cache.configuration.FactoryBuilder;
import javax.cache.configuration.MutableConfiguration;
import javax.cache.expiry.AccessedExpiryPolicy;
import javax.cache.expiry.CreatedExpiryPolicy;
import javax.cache.expiry.Duration;
import javax.cache.expiry.ExpiryPolicy;
import javax.cache.integration.CacheLoader;
import javax.management.JMException;
import javax.management.ObjectName;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Forms of keys and values, lifetimes, and a cache that is away. */
class EntriesTest {
  private static final Duration MINUTE = new Duration(TimeUnit.MINUTES, 1);

  private final FakeLarder fake = new FakeLarder();
  private final LarderClient client = fake.client();

  /** A type with JSON and without Java serialization. */
  record User(String name, Instant since) {}

  @AfterEach
  void close() {
    client.close();
  }

  private <K, V> Cache<K, V> cache(
      MutableConfiguration<K, V> configuration, String... properties) {
    return Processes.manager(client, properties).createCache("cache", configuration);
  }

  @Test
  void typesOfJavaComeBackAsTheyAre() {
    Cache<Object, Object> cache = cache(new MutableConfiguration<>());
    List<Object> all =
        List.of(
            "text", "", "x\ud800y", 1, 1L, 1.5, 1.5f, (short) 1, (byte) 1, 'a', true, new Date(1),
            UUID.randomUUID(), new BigDecimal("1.10"), new BigInteger("123456789012345678901"));
    for (Object key : all) {
      cache.put(key, key);
    }
    Map<Object, Object> found = new HashMap<>();
    cache.forEach(entry -> found.put(entry.getKey(), entry.getValue()));
    assertEquals(all.size(), found.size());
    for (Object key : all) {
      assertEquals(key, cache.get(key));
      assertEquals(key, found.get(key));
    }
    cache.put("bytes", new byte[] {1, 2});
    assertArrayEquals(new byte[] {1, 2}, (byte[]) cache.get("bytes"));
    assertNull(cache.get(1.25));
  }

  @Test
  void aDeclaredTypeIsJson() {
    Cache<User, User> cache =
        cache(new MutableConfiguration<User, User>().setTypes(User.class, User.class));
    User ada = new User("Ada", Instant.parse("2026-11-29T10:00:00Z"));
    cache.put(ada, ada);
    assertEquals(ada, cache.get(new User("Ada", Instant.parse("2026-11-29T10:00:00Z"))));
    assertEquals(ada, cache.iterator().next().getKey());
  }

  @Test
  void javaSerializationNeedsASecret() {
    Cache<String, Object> plain = cache(new MutableConfiguration<>());
    CacheException refused =
        assertThrows(CacheException.class, () -> plain.put("k", List.of(1)));
    assertTrue(refused.getMessage().contains("secret"), refused.getMessage());
    Cache<String, Object> signed =
        cache(new MutableConfiguration<>(), "larder.secret", Processes.SECRET);
    signed.put("k", List.of(1));
    assertEquals(List.of(1), signed.get("k"));
    // Neither without the secret nor with another one is it read.
    assertNull(plain.get("k"));
    assertNull(
        cache(new MutableConfiguration<>(), "larder.secret", "another secret of tests").get("k"));
    CacheException other =
        assertThrows(CacheException.class, () -> signed.put("k", new Object()));
    assertTrue(other.getMessage().contains("Serializable"), other.getMessage());
  }

  @Test
  void aSignedEntryOfAnotherPlaceIsAMiss() {
    CacheManager manager = Processes.manager(client, "larder.secret", Processes.SECRET);
    Cache<String, String> cache = manager.createCache("cache", new MutableConfiguration<>());
    Cache<String, String> other = manager.createCache("other", new MutableConfiguration<>());
    cache.put("admin", "yes");
    Namespace<byte[]> raw = client.namespace("cache", byte[].class);
    byte[] entry = raw.get("s:admin").value();
    raw.set("s:guest", entry);
    client.namespace("other", byte[].class).set("s:admin", entry);
    assertEquals("yes", cache.get("admin"));
    assertNull(cache.get("guest"));
    assertNull(other.get("admin"));
    entry[entry.length - 1]++;
    raw.set("s:admin", entry);
    assertNull(cache.get("admin"));
    raw.set("s:admin", new byte[] {2, 1});
    assertNull(cache.get("admin"));
  }

  @Test
  void aReplacedEntryKeepsTheTimeThatItHas() {
    Cache<String, Integer> cache =
        cache(
            new MutableConfiguration<String, Integer>()
                .setExpiryPolicyFactory(CreatedExpiryPolicy.factoryOf(MINUTE)));
    cache.put("k", 1);
    fake.advance(java.time.Duration.ofSeconds(40));
    cache.put("k", 2);
    assertTrue(cache.replace("k", 3));
    cache.invoke(
        "k",
        (entry, arguments) -> {
          entry.setValue(4);
          return null;
        });
    assertEquals(4, cache.get("k"));
    fake.advance(java.time.Duration.ofSeconds(30));
    assertNull(cache.get("k"));
  }

  @Test
  void everyReadExtendsTheTimeOfAnEntry() {
    Cache<String, Integer> cache =
        cache(
            new MutableConfiguration<String, Integer>()
                .setExpiryPolicyFactory(AccessedExpiryPolicy.factoryOf(MINUTE)));
    cache.put("k", 1);
    for (int read = 0; read < 3; read++) {
      fake.advance(java.time.Duration.ofSeconds(40));
      assertEquals(1, cache.get("k"));
    }
    fake.advance(java.time.Duration.ofSeconds(40));
    assertEquals(Map.of("k", 1), cache.getAll(Set.of("k")));
    fake.advance(java.time.Duration.ofSeconds(40));
    assertTrue(cache.containsKey("k"));
    fake.advance(java.time.Duration.ofSeconds(40));
    assertNull(cache.get("k"));
  }

  /** Fails whatever it is asked. */
  public static final class BrokenPolicy implements ExpiryPolicy {
    @Override
    public Duration getExpiryForCreation() {
      throw new IllegalStateException("broken");
    }

    @Override
    public Duration getExpiryForAccess() {
      throw new IllegalStateException("broken");
    }

    @Override
    public Duration getExpiryForUpdate() {
      throw new IllegalStateException("broken");
    }
  }

  @Test
  void anExpiryPolicyThatFailsHasADefault() {
    Cache<String, Integer> cache =
        cache(
            new MutableConfiguration<String, Integer>()
                .setExpiryPolicyFactory(FactoryBuilder.factoryOf(BrokenPolicy.class)));
    cache.put("k", 1);
    cache.put("k", 2);
    assertEquals(2, cache.get("k"));
  }

  private static final class Loader implements CacheLoader<String, String> {
    @Override
    public String load(String key) {
      return "loaded";
    }

    @Override
    public Map<String, String> loadAll(Iterable<? extends String> keys) {
      Map<String, String> values = new HashMap<>();
      keys.forEach(key -> values.put(key, "loaded"));
      return values;
    }
  }

  private static MutableConfiguration<String, String> loading() {
    return new MutableConfiguration<String, String>()
        .setReadThrough(true)
        .setCacheLoaderFactory(Loader::new);
  }

  @Test
  void readsAndPutsGoOnWithoutTheCache() throws Exception {
    Cache<String, String> cache =
        cache(new MutableConfiguration<String, String>()
            .setExpiryPolicyFactory(AccessedExpiryPolicy.factoryOf(MINUTE)));
    Cache<String, String> loading = cache(loading());
    cache.put("k", "before");
    fake.fail(FakeFailure.UNAVAILABLE);
    assertNull(cache.get("k"));
    assertEquals(Map.of(), cache.getAll(Set.of("k")));
    assertFalse(cache.containsKey("k"));
    assertDoesNotThrow(() -> cache.put("k", "during"));
    assertDoesNotThrow(() -> cache.putAll(Map.of("k", "during")));
    assertEquals("loaded", loading.get("k"));
    assertEquals(Map.of("k", "loaded"), loading.getAll(Set.of("k")));
    assertThrows(CacheException.class, () -> cache.remove("k"));
    assertThrows(CacheException.class, () -> cache.removeAll(Set.of("k")));
    assertThrows(CacheException.class, cache::removeAll);
    assertThrows(CacheException.class, cache::clear);
    assertThrows(CacheException.class, () -> cache.putIfAbsent("k", "during"));
    assertThrows(CacheException.class, () -> cache.getAndPut("k", "during"));
    assertThrows(CacheException.class, () -> cache.invoke("k", (entry, arguments) -> null));
    fake.recover();
    assertEquals("before", eventually(() -> cache.get("k")));
  }

  /** The first value that is not null: the client tries again after a while. */
  private static <T> T eventually(Supplier<T> source) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (true) {
      T value = source.get();
      if (value != null) {
        return value;
      }
      assertTrue(System.nanoTime() < deadline, "it does not come");
      Thread.sleep(20);
    }
  }

  @Test
  void aStoreThatIsAwayIsNoEmptyStore() {
    Cache<String, String> cache = cache(new MutableConfiguration<>());
    cache.put("k", "before");
    fake.degrade();
    assertNull(cache.get("k"));
    assertDoesNotThrow(() -> cache.put("k", "during"));
    assertThrows(CacheException.class, () -> cache.putIfAbsent("k", "during"));
    assertThrows(CacheException.class, () -> cache.invoke("k", (entry, arguments) -> null));
    fake.recover();
    assertEquals("before", cache.get("k"));
  }

  @Test
  void theOptionOnErrorMakesAllCallsThrow() {
    Cache<String, String> cache =
        cache(new MutableConfiguration<>(), "larder.on-error", "raise");
    Cache<String, String> loading = cache(loading(), "larder.on-error", "raise");
    fake.fail(FakeFailure.UNAVAILABLE);
    assertThrows(CacheException.class, () -> cache.get("k"));
    assertThrows(CacheException.class, () -> cache.put("k", "v"));
    assertThrows(CacheException.class, () -> cache.putAll(Map.of("k", "v")));
    assertThrows(CacheException.class, () -> loading.get("k"));
    fake.recover();
    cache.put("k", "v");
    fake.degrade();
    assertThrows(CacheException.class, () -> cache.get("k"));
    assertThrows(CacheException.class, () -> cache.getAll(Set.of("k")));
    assertThrows(CacheException.class, () -> cache.put("k", "w"));
    assertThrows(CacheException.class, () -> cache.putAll(Map.of("k", "w", "l", "w")));
  }

  @Test
  void aPutThatStoresNothingIsNotCounted() {
    CacheManager manager = Processes.manager(client);
    MutableConfiguration<String, String> configuration =
        new MutableConfiguration<String, String>().setStatisticsEnabled(true);
    Cache<String, String> cache = manager.createCache("counted", configuration);
    fake.degrade();
    cache.put("k", "v");
    cache.putAll(Map.of("k", "v", "l", "v"));
    assertEquals(0, puts(manager));
    fake.recover();
    cache.put("k", "v");
    cache.putAll(Map.of("k", "v", "l", "v"));
    assertEquals(3, puts(manager));
    manager.close();
  }

  private static long puts(CacheManager manager) {
    try {
      ObjectName name =
          new ObjectName(
              "javax.cache:type=CacheStatistics,CacheManager=larder.test,Cache=counted");
      return (long) ManagementFactory.getPlatformMBeanServer().getAttribute(name, "CachePuts");
    } catch (JMException error) {
      throw new IllegalStateException(error);
    }
  }

  @Test
  void destroyClosesTheCacheAlsoWithoutTheServer() {
    CacheManager manager = Processes.manager(client);
    Cache<String, String> cache = manager.createCache("c", new MutableConfiguration<>());
    cache.put("k", "v");
    fake.fail(FakeFailure.UNAVAILABLE);
    assertThrows(CacheException.class, () -> manager.destroyCache("c"));
    assertTrue(cache.isClosed());
    assertNull(manager.getCache("c"));
    fake.recover();
    // Entries that could not be removed are still there, for all processes.
    assertNotNull(manager.<String, String, MutableConfiguration<String, String>>createCache(
        "c", new MutableConfiguration<>()).get("k"));
  }

  @Test
  void aNearCacheServesReadsWithoutTheServer() throws Exception {
    Cache<String, String> cache =
        cache(new MutableConfiguration<>(), "larder.near-cache", "true");
    cache.put("k", "v");
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    long before;
    do {
      before = reads();
      assertEquals("v", cache.get("k"));
      assertTrue(System.nanoTime() < deadline, "no near cache");
    } while (reads() != before);
    cache.put("k", "w");
    assertEquals("w", cache.get("k"));
  }

  private long reads() {
    return fake.calls().stream().filter(call -> call.method().equals("Get")).count();
  }
}
