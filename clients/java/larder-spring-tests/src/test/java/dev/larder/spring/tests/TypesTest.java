package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonTypeInfo;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.larder.client.Codec;
import dev.larder.client.EncodeException;
import dev.larder.client.Encoded;
import dev.larder.client.LarderClient;
import dev.larder.client.TypeOf;
import dev.larder.spring.CacheCodecs;
import dev.larder.spring.LarderCache;
import dev.larder.spring.LarderCacheConfiguration;
import dev.larder.spring.LarderCacheManager;
import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;

/** Types and forms of values. */
class TypesTest {
  private AnnotationConfigApplicationContext context;
  private Store store;

  /** A value as it is stored. */
  private static final Codec<Encoded> AS_STORED =
      new Codec<>() {
        @Override
        public Encoded encode(Encoded value) {
          return value;
        }

        @Override
        public Encoded decode(Encoded encoded) {
          return encoded;
        }
      };

  /** A value with a time. */
  record Order(long id, Instant at, List<String> lines) implements Serializable {}

  /** A type with subtypes that it names. */
  @JsonTypeInfo(use = JsonTypeInfo.Id.NAME)
  @JsonSubTypes({
    @JsonSubTypes.Type(value = Dog.class, name = "dog"),
    @JsonSubTypes.Type(value = Cat.class, name = "cat")
  })
  interface Animal {}

  record Dog(String name) implements Animal {}

  record Cat(int lives) implements Animal {}

  /** A type whose subtypes have no names. */
  interface Shape {}

  record Circle(int radius) implements Shape {}

  /** A method of a type argument. */
  static class Repository<T> {
    private final T value;
    final AtomicInteger calls = new AtomicInteger();

    Repository() {
      this(null);
    }

    Repository(T value) {
      this.value = value;
    }

    @Cacheable("generic")
    public T find(String id) {
      calls.incrementAndGet();
      return value;
    }

    @Cacheable("generic")
    public List<T> all(String id) {
      calls.incrementAndGet();
      return List.of(value, value);
    }

    public int count() {
      return calls.get();
    }
  }

  static class Orders extends Repository<Order> {
    Orders() {
      super(ORDER);
    }
  }

  private static final Order ORDER =
      new Order(Long.MAX_VALUE, Instant.parse("2026-11-30T10:00:00.123456Z"), List.of("a"));

  static class Store {
    private final AtomicInteger calls = new AtomicInteger();

    @Cacheable("orders")
    public Map<Long, List<Order>> nested(String id) {
      calls.incrementAndGet();
      return Map.of(1L, List.of(ORDER));
    }

    @Cacheable("animals")
    public List<Animal> animals(String id) {
      calls.incrementAndGet();
      return List.of(new Dog("Rex"), new Cat(9));
    }

    @Cacheable("animals")
    public Animal animal(String id) {
      calls.incrementAndGet();
      return new Cat(7);
    }

    @Cacheable("shapes")
    public Shape shape(String id) {
      calls.incrementAndGet();
      return new Circle(1);
    }

    @Cacheable("plain")
    public int primitive(String id) {
      return calls.incrementAndGet();
    }

    @Cacheable("plain")
    public String text(String id) {
      calls.incrementAndGet();
      return "5";
    }

    @Cacheable("plain")
    public byte[] bytes(String id) {
      calls.incrementAndGet();
      return new byte[] {1, 2};
    }

    @Cacheable("plain")
    public Object anything(String id) {
      calls.incrementAndGet();
      return Map.of("a", 1);
    }

    @Cacheable("plain")
    public Order order(String id) {
      calls.incrementAndGet();
      return ORDER;
    }

    public int count() {
      return calls.get();
    }
  }

  @BeforeEach
  void start() {
    context = Contexts.start(Contexts.Subclasses.class, Store.class, Orders.class);
    store = context.getBean(Store.class);
  }

  @AfterEach
  void stop() {
    context.close();
  }

  private Encoded stored(String cache, String key) {
    return Contexts.raw(context, cache, AS_STORED).get(key).value();
  }

  private static void assertClassless(Encoded encoded) {
    String json = assertInstanceOf(Encoded.Json.class, encoded).value();
    assertTrue(!json.contains("dev.larder") && !json.contains("java."), json);
  }

  @Test
  void valuesHaveTheTypeOfTheirMethod() {
    assertEquals(store.nested("a"), store.nested("a"));
    assertEquals(Map.of(1L, List.of(ORDER)), store.nested("a"));
    assertEquals(2, store.primitive("i"));
    assertEquals(3, store.primitive("j"));
    assertEquals(2, store.primitive("i"));
    assertEquals(3, store.count());
    assertClassless(stored("orders", "a"));
  }

  @Test
  void typeArgumentsOfClassesAreKnown() {
    Orders orders = context.getBean(Orders.class);
    assertEquals(ORDER, orders.find("a"));
    assertEquals(ORDER, orders.find("a"));
    assertEquals(List.of(ORDER, ORDER), orders.all("b"));
    assertEquals(List.of(ORDER, ORDER), orders.all("b"));
    assertEquals(2, orders.count());
  }

  @Test
  void subtypesHaveTheNamesOfTheirAnnotations() {
    assertEquals(store.animals("a"), store.animals("a"));
    assertEquals(List.of(new Dog("Rex"), new Cat(9)), store.animals("a"));
    assertEquals(new Cat(7), store.animal("b"));
    assertEquals(new Cat(7), store.animal("b"));
    assertEquals(2, store.count());
    assertClassless(stored("animals", "a"));
  }

  @Test
  void whatCannotBeReadIsComputedAgain() {
    assertEquals(new Circle(1), store.shape("s"));
    assertEquals(new Circle(1), store.shape("s"));
    assertEquals(2, store.count());
    // As another release of the program has it.
    Contexts.raw(context, "plain", AS_STORED).set("o", new Encoded.Json("{\"id\":[]}"));
    assertEquals(ORDER, store.order("o"));
    assertEquals(3, store.count());
    assertEquals(ORDER, store.order("o"));
    assertEquals(3, store.count());
  }

  @Test
  void textAndBytesAreStoredAsTheyAre() {
    assertEquals("5", store.text("t"));
    assertEquals("5", store.text("t"));
    assertEquals(new Encoded.Text("5"), stored("plain", "t"));
    store.bytes("b");
    assertEquals(2, store.bytes("b")[1]);
    assertInstanceOf(Encoded.Data.class, stored("plain", "b"));
    assertEquals(2, store.count());
    assertEquals(store.anything("x"), store.anything("x"));
    assertEquals(3, store.count());
  }

  private LarderCache cache(LarderCacheConfiguration configuration) {
    return LarderCacheManager.builder(context.getBean(LarderClient.class))
        .cache("typed", configuration)
        .build()
        .cache("typed");
  }

  @Test
  void aCacheCanHaveAType() {
    LarderCache typed =
        cache(LarderCacheConfiguration.DEFAULTS.type(new TypeOf<List<Order>>() {}.type()));
    typed.put("k", List.of(ORDER));
    assertEquals(List.of(ORDER), typed.get("k").get());
    assertEquals(List.of(ORDER), typed.get("k", () -> List.of()));
    LarderCache untyped = (LarderCache) context.getBean(CacheManager.class).getCache("typed");
    assertInstanceOf(Map.class, untyped.get("k", List.class).get(0));
  }

  @Test
  void aValueOfAnotherTypeIsRefused() {
    LarderCache cache = (LarderCache) context.getBean(CacheManager.class).getCache("plain");
    cache.put("k", 5);
    assertEquals(5, cache.get("k", Integer.class));
    assertThrows(IllegalStateException.class, () -> cache.get("k", String.class));
    cache.put("k", "text");
    assertThrows(IllegalStateException.class, () -> cache.get("k", Integer.class));
    cache.put("k", ORDER);
    assertEquals(ORDER, cache.get("k", Order.class));
  }

  @Test
  void whatJsonChangesIsRefused() {
    LarderCache cache = (LarderCache) context.getBean(CacheManager.class).getCache("plain");
    assertThrows(EncodeException.class, () -> cache.put("k", Double.NaN));
    assertEquals(Double.NaN, cache.get("k", () -> Double.NaN));
    assertNull(cache.get("k"));
  }

  @Test
  void aValueOverTheLimitIsNotStored() {
    LarderCache cache = (LarderCache) context.getBean(CacheManager.class).getCache("plain");
    String large = "x".repeat(2 * 1024 * 1024);
    cache.put("k", large);
    assertNull(cache.get("k"));
    assertNull(cache.putIfAbsent("k", large));
    assertEquals(large, cache.get("k", () -> large));
    assertNull(cache.get("k"));
  }

  @Test
  void aMapperOfTheProgramIsUsed() {
    JsonMapper mapper =
        JsonMapper.builder()
            .propertyNamingStrategy(PropertyNamingStrategies.UPPER_CAMEL_CASE)
            .build();
    LarderCache cache =
        cache(
            LarderCacheConfiguration.DEFAULTS
                .codecs(CacheCodecs.json(mapper))
                .type(Dog.class));
    cache.put("k", new Dog("Rex"));
    assertEquals(
        new Encoded.Json("{\"@type\":\"dog\",\"Name\":\"Rex\"}"), stored("typed", "k"));
    assertEquals(new Dog("Rex"), cache.get("k").get());
  }

  @Test
  void serializedValuesAreSigned() {
    byte[] secret = "a secret of the fleet".getBytes(StandardCharsets.UTF_8);
    LarderCache cache =
        cache(LarderCacheConfiguration.DEFAULTS.codecs(CacheCodecs.serialized(secret)));
    Map<Long, Order> value = new HashMap<>(Map.of(1L, ORDER));
    cache.put("k", value);
    assertEquals(value, cache.get("k").get());
    cache.put("n", null);
    assertNull(cache.get("n").get());
    EncodeException error =
        assertThrows(EncodeException.class, () -> cache.put("k", new Object()));
    assertTrue(error.getMessage().contains("java.lang.Object"), error.getMessage());
    byte[] other = "the secret of another".getBytes(StandardCharsets.UTF_8);
    LarderCache foreign =
        cache(LarderCacheConfiguration.DEFAULTS.codecs(CacheCodecs.serialized(other)));
    assertNull(foreign.get("k"));
    assertEquals("own", foreign.get("k", () -> "own"));
  }
}
