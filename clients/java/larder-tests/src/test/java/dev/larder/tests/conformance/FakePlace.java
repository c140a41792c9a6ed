package dev.larder.tests.conformance;

import com.google.protobuf.ByteString;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Duration;
import com.google.protobuf.Message;
import dev.larder.client.LarderClient;
import dev.larder.client.Targets;
import dev.larder.testing.FakeFailure;
import dev.larder.testing.FakeLarder;
import dev.larder.testing.FakeNamespace;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The fake as the server of a case. */
final class FakePlace implements Place {
  static final List<String> FEATURES = List.of("server", "calls", "pass_on", "near_cache");

  /** Delay of the calls of a paused server: longer than all deadlines. */
  private static final java.time.Duration PAUSE = java.time.Duration.ofHours(1);

  private final FakeLarder fake = new FakeLarder();

  FakePlace(Map<String, Object> configuration, Map<String, Object> test) {
    Map<String, Object> standard = Grammar.map(configuration.get(""));
    // The fake has no defaults of all namespaces, so that those of the case are named.
    Object own = test.getOrDefault("namespace", ((String) test.get("id")).replace('/', '-'));
    if (own instanceof String name && !name.isEmpty()) {
      fake.namespace(dev.larder.client.internal.Names.namespace(name), settings(standard));
    }
    configuration.forEach(
        (name, settings) -> {
          if (!name.isEmpty()) {
            Map<String, Object> all = new LinkedHashMap<>(standard);
            all.putAll(Grammar.map(settings));
            fake.namespace(name, settings(all));
          }
        });
    fake.event("user_changed", "events", event -> Targets.tags("user-" + user(event)));
    fake.event("user_moved", "events", event -> Targets.globs(user(event) + ":*"));
  }

  private static String user(Map<String, String> attributes) {
    if (!attributes.containsKey("user")) {
      throw new IllegalArgumentException("user: is needed");
    }
    return attributes.get("user");
  }

  private static FakeNamespace settings(Map<String, Object> given) {
    FakeNamespace made = FakeNamespace.DEFAULTS;
    for (Map.Entry<String, Object> each : given.entrySet()) {
      long number = ((Number) each.getValue()).longValue();
      java.time.Duration time = java.time.Duration.ofMillis(number);
      made =
          switch (each.getKey()) {
            case "ttl" -> made.ttl(time);
            case "max_ttl" -> made.maxTtl(time);
            case "stale_while_revalidate" -> made.stale(time);
            case "stale_if_error" -> made.staleIfError(time);
            case "lease_ttl" -> made.leaseTtl(time);
            case "lease_wait" -> made.leaseWait(time);
            case "abandon_backoff" -> made.backoff(time);
            case "max_value_bytes" -> made.maxValueBytes((int) number);
            default -> made;
          };
    }
    return made;
  }

  @Override
  public LarderClient connect(LarderClient.Builder builder, String via, String target) {
    return target == null ? fake.client(builder) : builder.target(target).build();
  }

  /** Moves the clock of the fake, and lets callers run. */
  @Override
  public void advance(double ms) throws InterruptedException {
    fake.advance(java.time.Duration.ofNanos((long) (ms * 1e6)));
    Thread.sleep(20);
  }

  @Override
  public Map<String, Object> connections() {
    throw new IllegalStateException("the fake has no connections");
  }

  @Override
  public void server(String state) {
    fake.recover();
    if (state.equals("stop")) {
      fake.fail(FakeFailure.UNAVAILABLE);
      fake.breakWatches();
    } else if (state.equals("pause")) {
      fake.delay(PAUSE);
    }
  }

  @Override
  public Object command(String name, Map<String, ?> arguments) {
    if (!name.equals("calls")) {
      throw new IllegalStateException("the fake has no " + name);
    }
    Object method = arguments.get("method");
    List<Object> calls = new ArrayList<>();
    for (FakeLarder.Made made : fake.calls()) {
      if (method == null || method.equals(made.method())) {
        calls.add(Map.of("method", made.method(), "request", plain(made.request())));
      }
    }
    return Map.of("calls", calls, "count", calls.size());
  }

  /** A message as the control program has it: names of the proto, without defaults. */
  private static Map<String, Object> plain(Message message) {
    Map<String, Object> made = new LinkedHashMap<>();
    message
        .getAllFields()
        .forEach(
            (field, value) -> {
              if (field.isMapField()) {
                Map<String, Object> entries = new LinkedHashMap<>();
                Grammar.list(value)
                    .forEach(
                        entry -> {
                          Map<String, Object> pair = plain((Message) entry);
                          entries.put(
                              (String) pair.getOrDefault("key", ""),
                              pair.getOrDefault("value", ""));
                        });
                made.put(field.getName(), entries);
              } else if (field.isRepeated()) {
                made.put(
                    field.getName(),
                    Grammar.list(value).stream().map(FakePlace::one).toList());
              } else {
                made.put(field.getName(), one(value));
              }
            });
    return made;
  }

  private static Object one(Object value) {
    if (value instanceof Duration duration) {
      double seconds = duration.getSeconds() + duration.getNanos() / 1e9;
      String text = seconds == Math.rint(seconds) ? (long) seconds + "" : seconds + "";
      return text + "s";
    }
    if (value instanceof Message message) {
      return plain(message);
    }
    if (value instanceof ByteString bytes) {
      return Base64.getEncoder().encodeToString(bytes.toByteArray());
    }
    return value instanceof EnumValueDescriptor constant ? constant.getName() : value;
  }

  @Override
  public void close() {
    fake.recover();
  }
}
