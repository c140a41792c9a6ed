package dev.larder.jcache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.Preset;
import dev.larder.testing.LarderServer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import javax.cache.Cache;
import javax.cache.CacheManager;
import javax.cache.configuration.FactoryBuilder;
import javax.cache.configuration.MutableConfiguration;
import javax.cache.integration.CacheLoader;
import javax.cache.integration.CacheWriter;
import javax.cache.integration.CompletionListenerFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Several processes on the real server: their caches of a name are one cache. */
public class FleetTest {
  private static final int PROCESSES = 2;
  private static final int THREADS = 3;
  private static final int ROUNDS = 40;

  private static LarderServer server;
  private static final List<LarderClient> CLIENTS = new ArrayList<>();
  private static final List<CacheManager> MANAGERS = new ArrayList<>();

  @BeforeAll
  static void start() throws IOException {
    server = LarderServer.start();
    for (int process = 0; process < PROCESSES; process++) {
      LarderClient client =
          LarderClient.builder().target(server.target()).preset(Preset.LOCAL).build();
      CLIENTS.add(client);
      MANAGERS.add(Processes.manager(client, "larder.secret", Processes.SECRET));
    }
  }

  @AfterAll
  static void stop() {
    MANAGERS.forEach(CacheManager::close);
    CLIENTS.forEach(LarderClient::close);
    server.close();
  }

  private static <K, V> List<Cache<K, V>> caches(
      String name, MutableConfiguration<K, V> configuration) {
    List<Cache<K, V>> caches = new ArrayList<>();
    MANAGERS.forEach(manager -> caches.add(manager.createCache(name, configuration)));
    return caches;
  }

  /** Runs work in several threads of each process at once; the results. */
  private static <K, V, R> List<R> everywhere(
      List<Cache<K, V>> caches, Function<Cache<K, V>, R> work) throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(PROCESSES * THREADS);
    try {
      CountDownLatch begin = new CountDownLatch(1);
      List<Future<R>> running = new ArrayList<>();
      for (int thread = 0; thread < PROCESSES * THREADS; thread++) {
        Cache<K, V> cache = caches.get(thread % PROCESSES);
        Callable<R> task =
            () -> {
              begin.await();
              return work.apply(cache);
            };
        running.add(threads.submit(task));
      }
      begin.countDown();
      List<R> results = new ArrayList<>();
      for (Future<R> each : running) {
        results.add(each.get(1, TimeUnit.MINUTES));
      }
      return results;
    } finally {
      threads.shutdownNow();
    }
  }

  @Test
  void anEntryProcessorIsAtomicOnTheFleet() throws Exception {
    List<Cache<String, Long>> caches =
        caches("sums", new MutableConfiguration<String, Long>().setTypes(String.class, Long.class));
    everywhere(
        caches,
        cache -> {
          for (int round = 0; round < ROUNDS; round++) {
            cache.invoke(
                "sum",
                (entry, arguments) -> {
                  entry.setValue(entry.exists() ? entry.getValue() + 1 : 1L);
                  return null;
                });
          }
          return null;
        });
    assertEquals((long) PROCESSES * THREADS * ROUNDS, caches.get(0).get("sum"));
    assertEquals((long) PROCESSES * THREADS * ROUNDS, caches.get(1).get("sum"));
  }

  @Test
  void oneOfManyPutsIfAbsent() throws Exception {
    List<Cache<String, Integer>> caches = caches("firsts", new MutableConfiguration<>());
    AtomicInteger next = new AtomicInteger();
    List<Boolean> stored =
        everywhere(caches, cache -> cache.putIfAbsent("k", next.incrementAndGet()));
    assertEquals(1, stored.stream().filter(one -> one).count());
    assertEquals(caches.get(0).get("k"), caches.get(1).get("k"));
    Integer value = caches.get(0).get("k");
    List<Boolean> removed = everywhere(caches, cache -> cache.remove("k", value));
    assertEquals(1, removed.stream().filter(one -> one).count());
    List<Boolean> replaced = everywhere(caches, cache -> cache.replace("k", 1));
    assertTrue(replaced.stream().noneMatch(one -> one));
  }

  /** A table that all processes write. */
  private record Rows(Map<String, Integer> rows, AtomicInteger writes)
      implements CacheWriter<String, Integer> {
    @Override
    public void write(Cache.Entry<? extends String, ? extends Integer> entry) {
      writes.incrementAndGet();
      rows.put(entry.getKey(), entry.getValue());
    }

    @Override
    public void writeAll(Collection<Cache.Entry<? extends String, ? extends Integer>> entries) {
      entries.forEach(this::write);
    }

    @Override
    public void delete(Object key) {
      rows.remove(key);
    }

    @Override
    public void deleteAll(Collection<?> keys) {
      rows.keySet().removeAll(keys);
    }
  }

  @Test
  void oneOfManyWrites() throws Exception {
    Map<String, Integer> rows = new ConcurrentHashMap<>();
    AtomicInteger writes = new AtomicInteger();
    List<Cache<String, Integer>> caches =
        caches(
            "written",
            new MutableConfiguration<String, Integer>()
                .setWriteThrough(true)
                .setCacheWriterFactory(() -> new Rows(rows, writes)));
    AtomicInteger next = new AtomicInteger();
    for (int round = 0; round < ROUNDS; round++) {
      String key = "k" + round;
      everywhere(caches, cache -> cache.putIfAbsent(key, next.incrementAndGet()));
      assertEquals(caches.get(0).get(key), rows.get(key));
    }
    assertEquals(ROUNDS, writes.get());
  }

  @Test
  void getAndPutLosesNoValue() throws Exception {
    List<Cache<String, Integer>> caches = caches("chain", new MutableConfiguration<>());
    AtomicInteger next = new AtomicInteger();
    List<List<Integer>> seen =
        everywhere(
            caches,
            cache -> {
              List<Integer> own = new ArrayList<>();
              for (int round = 0; round < ROUNDS; round++) {
                Integer old = cache.getAndPut("k", next.incrementAndGet());
                if (old != null) {
                  own.add(old);
                }
              }
              return own;
            });
    Set<Integer> all = new HashSet<>();
    seen.forEach(own -> own.forEach(value -> assertTrue(all.add(value), "twice: " + value)));
    assertTrue(all.add(caches.get(0).getAndRemove("k")));
    assertEquals(PROCESSES * THREADS * ROUNDS, all.size());
  }

  private static final AtomicInteger LOADS = new AtomicInteger();

  /** A slow source of values. */
  public static final class Source implements CacheLoader<String, String> {
    @Override
    public String load(String key) {
      LOADS.incrementAndGet();
      return "none".equals(key) ? null : "value of " + key;
    }

    @Override
    public Map<String, String> loadAll(Iterable<? extends String> keys) {
      Map<String, String> values = new HashMap<>();
      keys.forEach(
          key -> {
            String value = load(key);
            if (value != null) {
              values.put(key, value);
            }
          });
      return values;
    }
  }

  private static MutableConfiguration<String, String> readThrough() {
    return new MutableConfiguration<String, String>()
        .setTypes(String.class, String.class)
        .setReadThrough(true)
        .setCacheLoaderFactory(FactoryBuilder.factoryOf(Source.class));
  }

  @Test
  void oneProcessLoads() throws Exception {
    List<Cache<String, String>> caches = caches("loaded", readThrough());
    LOADS.set(0);
    List<String> values = everywhere(caches, cache -> cache.get("k"));
    assertEquals(Set.of("value of k"), new HashSet<>(values));
    assertEquals(1, LOADS.get());
    assertNull(caches.get(0).get("none"));
    assertEquals(
        Map.of("a", "value of a", "k", "value of k"),
        caches.get(1).getAll(Set.of("a", "k", "none")));
    caches.get(0).clear();
    assertFalse(caches.get(1).containsKey("k"));
    CompletionListenerFuture done = new CompletionListenerFuture();
    caches.get(0).loadAll(Set.of("x", "y"), true, done);
    done.get(1, TimeUnit.MINUTES);
    assertTrue(caches.get(1).containsKey("x") && caches.get(1).containsKey("y"));
  }

  @Test
  void allPagesAreIterated() {
    List<Cache<Integer, String>> caches = caches("pages", new MutableConfiguration<>());
    Map<Integer, String> values = new HashMap<>();
    for (int key = 0; key < 1234; key++) {
      values.put(key, "v" + key);
    }
    caches.get(0).putAll(values);
    Map<Integer, String> found = new HashMap<>();
    caches.get(1).forEach(entry -> found.put(entry.getKey(), entry.getValue()));
    assertEquals(values, found);
    caches.get(1).removeAll();
    assertFalse(caches.get(0).iterator().hasNext());
  }

  @Test
  void anEntryOfAnotherProgramIsAMiss() {
    List<Cache<String, String>> caches =
        caches(
            "mixed",
            new MutableConfiguration<String, String>().setTypes(String.class, String.class));
    Cache<String, String> cache = caches.get(0);
    Namespace<String> other = CLIENTS.get(0).namespace("mixed", String.class);
    for (String key : List.of("get", "put", "absent", "old", "invoke", "remove")) {
      assertTrue(other.set("s:" + key, "not an entry of a JCache").stored());
    }
    assertFalse(cache.iterator().hasNext());
    assertNull(cache.get("get"));
    cache.put("put", "mine");
    assertEquals("mine", cache.get("put"));
    assertTrue(cache.putIfAbsent("absent", "mine"));
    assertEquals("mine", cache.get("absent"));
    assertNull(cache.getAndPut("old", "mine"));
    assertEquals("mine", cache.get("old"));
    cache.invoke(
        "invoke",
        (entry, arguments) -> {
          assertFalse(entry.exists());
          entry.setValue("mine");
          return null;
        });
    assertEquals("mine", cache.get("invoke"));
    assertFalse(cache.replace("remove", "mine"));
    cache.removeAll();
    assertFalse(other.has("s:remove"));
  }
}
