package dev.larder.jcache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.OnError;
import dev.larder.testing.FakeLarder;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import javax.cache.Cache;
import javax.cache.CacheException;
import javax.cache.CacheManager;
import javax.cache.configuration.MutableCacheEntryListenerConfiguration;
import javax.cache.configuration.MutableConfiguration;
import javax.cache.integration.CacheLoader;
import javax.cache.integration.CacheWriter;
import javax.management.ObjectName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Cache managers: their options, and what they leave behind. */
class ProviderTest {
  private static JCacheSettings settings(String uri, String... pairs) {
    Properties properties = new Properties();
    for (int index = 0; index < pairs.length; index += 2) {
      properties.put(pairs[index], pairs[index + 1]);
    }
    return JCacheSettings.of(URI.create(uri), properties);
  }

  @Test
  void theUriAndThePropertiesHaveTheOptions(@TempDir Path directory) throws Exception {
    JCacheSettings all =
        settings(
            "larder://one:1,two:2/shop.?preset=low_latency&near-cache&call-timeout=250",
            "larder.on-error",
            "raise",
            "larder.target",
            "the URI wins:1");
    assertEquals("one:1,two:2", all.options().get("target"));
    assertEquals("shop.", all.prefix());
    assertEquals(OnError.RAISE, all.onError());
    assertTrue(all.nearCache());
    assertEquals("250", all.options().get("call-timeout"));
    assertEquals(0, settings("larder:default").options().size());
    Path file = Files.writeString(directory.resolve("secret"), Processes.SECRET + "\n");
    assertEquals(
        settings("larder:x", "larder.secret", Processes.SECRET).secret(),
        settings("larder:x", "larder.secret-file", file.toString()).secret());
    assertFalse(settings("larder:x", "larder.secret", Processes.SECRET).toString()
        .contains(Processes.SECRET));
  }

  @Test
  void wrongOptionsAreNamed() {
    for (List<String> wrong :
        List.of(
            List.of("http://host", "x", "x", "larder:"),
            List.of("larder://h:1?secret=a-secret-in-a-log-file", "x", "x", "no place"),
            List.of("larder:x", "larder.presett", "local", "presett"),
            List.of("larder:x", "larder.on-error", "no", "on-error"),
            List.of("larder:x", "larder.near-cache", "no", "near-cache"),
            List.of("larder:x", "larder.secret", "short", "secret"),
            List.of("larder:x", "larder.secret-file", "/none/of/these", "secret-file"),
            List.of("larder:x", "larder.call-timeout", "soon", "call-timeout"),
            List.of("larder:x", "larder.preset", "none", "preset"))) {
      CacheException error =
          assertThrows(
              CacheException.class,
              () -> settings(wrong.get(0), wrong.get(1), wrong.get(2)).connect().close(),
              wrong::toString);
      assertTrue(error.getMessage().contains(wrong.get(3)), error.getMessage());
    }
  }

  @Test
  void managersWithTheSameOptionsShareAClient() throws Exception {
    LarderCachingProvider provider = new LarderCachingProvider();
    Properties local = new Properties();
    local.put("larder.target", "127.0.0.1:9");
    CacheManager one = provider.getCacheManager(URI.create("larder:one"), null, local);
    CacheManager two = provider.getCacheManager(URI.create("larder:two"), null, local);
    CacheManager other =
        provider.getCacheManager(URI.create("larder://127.0.0.1:10"), null, null);
    LarderClient shared = one.unwrap(LarderClient.class);
    assertSame(shared, two.unwrap(LarderClient.class));
    assertNotSame(shared, other.unwrap(LarderClient.class));
    one.close();
    assertFalse(shared.namespace("n", String.class).get("k").found());
    provider.close();
    assertThrows(
        RuntimeException.class, () -> shared.namespace("n", String.class).get("k"));
    assertNotSame(two, provider.getCacheManager(URI.create("larder:two"), null, local));
    provider.close();
  }

  @Test
  void aClientOfTheProgramStaysOpen() {
    try (LarderClient client = new FakeLarder().client()) {
      CacheManager manager = Processes.manager(client, "larder.prefix", "shop.");
      Cache<String, String> cache = manager.createCache("c", new MutableConfiguration<>());
      assertEquals("shop.c", cache.unwrap(Namespace.class).name());
      manager.close();
      assertFalse(client.namespace("n", String.class).get("k").found());
    }
  }

  @Test
  void beansGoWithTheCache() throws Exception {
    try (LarderClient client = new FakeLarder().client()) {
      CacheManager manager = Processes.manager(client);
      Cache<String, String> cache =
          manager.createCache(
              "a,b*c?",
              new MutableConfiguration<String, String>()
                  .setManagementEnabled(true)
                  .setStatisticsEnabled(true));
      cache.put("k", "v");
      cache.get("k");
      cache.get("none");
      ObjectName name =
          new ObjectName("javax.cache:type=CacheStatistics,CacheManager=larder.test,Cache=a.b.c.");
      var beans = ManagementFactory.getPlatformMBeanServer();
      assertEquals(1L, beans.getAttribute(name, "CachePuts"));
      assertEquals(50f, beans.getAttribute(name, "CacheHitPercentage"));
      manager.close();
      assertEquals(
          Set.of(),
          beans.queryNames(new ObjectName("javax.cache:CacheManager=larder.test,*"), null));
    }
  }

  @Test
  void noThreadIsLeft() throws Exception {
    CacheManager manager =
        new LarderCachingProvider()
            .getCacheManager(URI.create("larder://127.0.0.1:9"), null, null);
    Cache<String, String> cache = manager.createCache("c", new MutableConfiguration<>());
    cache.get("k");
    manager.close();
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (Thread.getAllStackTraces().keySet().stream()
        .anyMatch(thread -> thread.getName().startsWith("larder-jcache"))) {
      assertTrue(System.nanoTime() < deadline, "a thread is left");
      Thread.sleep(20);
    }
  }

  private static final class Loader
      implements CacheLoader<String, String>, CacheWriter<String, String>, AutoCloseable {
    int closed;

    @Override
    public String load(String key) {
      return null;
    }

    @Override
    public Map<String, String> loadAll(Iterable<? extends String> keys) {
      return Map.of();
    }

    @Override
    public void write(Cache.Entry<? extends String, ? extends String> entry) {}

    @Override
    public void writeAll(Collection<Cache.Entry<? extends String, ? extends String>> entries) {}

    @Override
    public void delete(Object key) {}

    @Override
    public void deleteAll(Collection<?> keys) {}

    @Override
    public void close() {
      closed++;
    }
  }

  @Test
  void aCacheThatCannotBeMadeLeavesNothing() {
    try (LarderClient client = new FakeLarder().client()) {
      CacheManager manager = Processes.manager(client);
      Loader loader = new Loader();
      Loader writer = new Loader();
      MutableConfiguration<String, String> configuration =
          new MutableConfiguration<String, String>()
              .setManagementEnabled(true)
              .setWriteThrough(true)
              .setCacheLoaderFactory(() -> loader)
              .setCacheWriterFactory(() -> writer);
      var broken =
          new MutableCacheEntryListenerConfiguration<String, String>(
              () -> {
                throw new IllegalStateException("on purpose");
              },
              null,
              false,
              true);
      configuration.addCacheEntryListenerConfiguration(broken);
      assertThrows(IllegalStateException.class, () -> manager.createCache("c", configuration));
      assertEquals(List.of(1, 1), List.of(loader.closed, writer.closed));
      assertNull(manager.getCache("c"));
      configuration.removeCacheEntryListenerConfiguration(broken);
      manager.createCache("c", configuration).close();
      assertEquals(List.of(2, 2), List.of(loader.closed, writer.closed));
    }
  }
}
