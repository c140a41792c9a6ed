package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.larder.client.LarderClient;
import dev.larder.spring.LarderCacheManager;
import dev.larder.testing.LarderServer;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.EnableCaching;
import org.springframework.cache.concurrent.ConcurrentMapCacheManager;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** Health and metrics, as they are seen from outside. */
class ActuatorTest {
  private static final HttpClient HTTP = HttpClient.newHttpClient();
  private static final ObjectMapper JSON = new ObjectMapper();

  @Configuration
  @EnableAutoConfiguration
  @EnableCaching
  static class App {}

  private static ConfigurableApplicationContext start(
      String target, Map<String, Object> properties, Class<?>... more) {
    Map<String, Object> all = new HashMap<>(TestServer.properties(target));
    all.put("larder.namespace-prefix", TestServer.fresh("a"));
    all.put("larder.cache.caches.first.ttl", "1m");
    all.put("server.port", "0");
    all.put("spring.main.banner-mode", "off");
    all.put("management.endpoints.web.exposure.include", "*");
    all.put("management.endpoint.health.show-details", "always");
    all.putAll(properties);
    return new SpringApplicationBuilder(App.class).sources(more).properties(all).run();
  }

  private static JsonNode get(ConfigurableApplicationContext context, int status, String path)
      throws Exception {
    String port = context.getEnvironment().getProperty("local.server.port");
    URI uri = URI.create("http://127.0.0.1:" + port + "/actuator/" + path);
    HttpResponse<String> answer =
        HTTP.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
    assertEquals(status, answer.statusCode(), answer.body());
    return answer.body().isEmpty() ? null : JSON.readTree(answer.body());
  }

  private static double metric(
      ConfigurableApplicationContext context, String name, String... tags) throws Exception {
    StringBuilder path = new StringBuilder("metrics/").append(name);
    for (int index = 0; index < tags.length; index++) {
      path.append(index == 0 ? "?tag=" : "&tag=").append(tags[index]);
    }
    return get(context, 200, path.toString()).at("/measurements/0/value").asDouble();
  }

  @Test
  void healthIsThatOfTheServer() throws Exception {
    LarderServer server = TestServer.another();
    try (ConfigurableApplicationContext context = start(server.target(), Map.of())) {
      JsonNode up = get(context, 200, "health").at("/components/larder");
      assertEquals("UP", up.path("status").asText(), up.toString());
      assertEquals("up", up.at("/details/store").asText(), up.toString());
      server.close();
      JsonNode down = get(context, 503, "health").at("/components/larder");
      assertEquals("DOWN", down.path("status").asText(), down.toString());
      assertEquals("UNAVAILABLE", down.at("/details/code").asText(), down.toString());
    } finally {
      server.close();
    }
  }

  @Configuration
  static class Clients {
    @Bean
    LarderClient one() {
      return LarderClient.builder().target("127.0.0.1:1").build();
    }

    @Bean
    LarderClient two() {
      return LarderClient.builder().target("127.0.0.1:1").build();
    }

    @Bean
    CacheManager maps() {
      return new ConcurrentMapCacheManager();
    }
  }

  @Test
  void severalClientsAreNoPartOfTheHealth() throws Exception {
    try (ConfigurableApplicationContext context =
        start("127.0.0.1:1", Map.of(), Clients.class)) {
      JsonNode health = get(context, 200, "health");
      assertTrue(health.at("/components/larder").isMissingNode(), health.toString());
    }
  }

  @Test
  void healthCanBeSwitchedOff() throws Exception {
    Map<String, Object> off = Map.of("management.health.larder.enabled", "false");
    try (ConfigurableApplicationContext context = start("127.0.0.1:1", off)) {
      JsonNode health = get(context, 200, "health");
      assertTrue(health.at("/components/larder").isMissingNode(), health.toString());
    }
  }

  @Test
  void aServerThatRefusesTheReadAnswers() throws Exception {
    String config = "strict_namespaces = true\n[namespaces.known]\nttl = \"1m\"\n";
    try (LarderServer server = LarderServer.builder().config(config).start();
        ConfigurableApplicationContext context =
            start(server.target(), Map.of("larder.namespace-prefix", ""))) {
      JsonNode health = get(context, 200, "health").at("/components/larder");
      assertEquals("UP", health.path("status").asText(), health.toString());
      assertEquals("NOT_FOUND", health.at("/details/code").asText(), health.toString());
    }
  }

  @Test
  void cachesHaveMeters() throws Exception {
    try (ConfigurableApplicationContext context = start(TestServer.target(), Map.of())) {
      LarderCacheManager manager = context.getBean(LarderCacheManager.class);
      for (String name : new String[] {"first", "made-later"}) {
        Cache cache = manager.getCache(name);
        cache.get("k");
        cache.put("k", 1);
        cache.get("k");
        cache.get("k", () -> 2);
        cache.get("l", () -> 3);
        cache.evict("k");
        cache.evict("k");
        String tag = "cache:" + name;
        assertEquals(2, metric(context, "cache.gets", tag, "result:hit"), name);
        assertEquals(2, metric(context, "cache.gets", tag, "result:miss"), name);
        assertEquals(2, metric(context, "cache.puts", tag), name);
        assertEquals(1, metric(context, "cache.removals", tag), name);
        assertEquals(2, metric(context, "cache.puts", tag, "cache.manager:cacheManager"), name);
        // A meter refers weakly to its object. The counters are read a few times in a second.
        System.gc();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (metric(context, "larder.client.loads", tag) != 1) {
          assertTrue(System.nanoTime() < deadline, name);
        }
      }
      JsonNode caches = get(context, 200, "caches").at("/cacheManagers/cacheManager/caches");
      assertTrue(caches.has("first") && caches.has("made-later"), caches.toString());
    }
  }
}
