import com.fasterxml.jackson.databind.ObjectMapper;
import dev.larder.client.CallKey;
import dev.larder.client.FetchOptions;
import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.Preset;
import dev.larder.client.Result;
import dev.larder.client.Targets;
import dev.larder.client.Tier;
import dev.larder.client.WriteOptions;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;

/** The Java worker of the polyglot test: clients/fleet/README.md has the protocol. */
public final class Polyglot {
  static final ObjectMapper JSON = new ObjectMapper();
  static final String NAMESPACE = "polyglot";
  /** How long the near cache has to keep a value and to see its change. */
  private static final Duration LIMIT = Duration.ofSeconds(20);
  private static final double NANOS = 1e9;
  private static final Map<String, List<String>> ARGUMENTS =
      Map.of(
          "report", List.of("year", "region", "filters"),
          "user", List.of("user_id", "page"),
          "pair", List.of("a", "b"));
  private static final Map<String, String> TEMPLATES =
      Map.of("report", "report", "user", "user:{user_id}", "pair", "{a}:{b}");

  private LarderClient client;
  private Namespace<Object> entries;
  private Namespace<String> near;
  private Load load;

  private Polyglot() {}

  /** Does the commands of the input, one after the other. */
  public static void main(String[] args) throws Exception {
    Polyglot worker = new Polyglot();
    BufferedReader input =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      Map<String, Object> command = map(JSON.readValue(line, Object.class));
      answer(worker.run(command));
      if (command.get("do").equals("close")) {
        return;
      }
    }
    // The script is gone; callers of the load may run.
    Runtime.getRuntime().halt(1);
  }

  /** Writes one line. */
  private static synchronized void answer(Object value) throws IOException {
    System.out.write((JSON.writeValueAsString(value) + "\n").getBytes(StandardCharsets.UTF_8));
    System.out.flush();
  }

  @SuppressWarnings("unchecked")
  private static Map<String, Object> map(Object value) {
    return (Map<String, Object>) value;
  }

  @SuppressWarnings("unchecked")
  private static List<Object> list(Object value) {
    return (List<Object>) value;
  }

  private static double number(Object value) {
    return ((Number) value).doubleValue();
  }

  private Object run(Map<String, Object> command) throws Exception {
    switch ((String) command.get("do")) {
      case "connect":
        return connect((String) command.get("preset"));
      case "keys":
        return keys(list(command.get("calls")));
      case "write":
        return write(list(command.get("calls")), list(command.get("values")));
      case "read":
        return read(list(command.get("calls")));
      case "stampede":
        return stampede(command);
      case "change":
        return change(command);
      case "follow":
        return follow(command);
      case "load":
        int callers = (int) number(command.get("callers"));
        load = new Load(client, callers, (long) (number(command.get("pause")) * 1000));
        return "loading";
      case "counts":
        return load.facts();
      case "end":
        return load.end();
      case "close":
        client.close();
        return "closed";
      default:
        throw new IllegalArgumentException("there is no such command: " + command);
    }
  }

  /** A client with this preset, in place of the one before. */
  private Object connect(String preset) {
    if (client != null) {
      client.close();
    }
    client = LarderClient.builder().preset(Preset.of(preset)).build();
    client.connect(Duration.ofSeconds(20));
    entries = client.namespace(NAMESPACE, Object.class);
    near =
        client.namespace(NAMESPACE, String.class, NamespaceOptions.DEFAULTS.withNearCache());
    return "connected";
  }

  /** The entry of a call. Java has no arguments by name: they are put in their places. */
  private static Key key(Map<String, Object> call) {
    String function = (String) call.get("function");
    Map<String, Object> arguments = new LinkedHashMap<>();
    if (function.equals("report")) {
      arguments.put("region", "eu");
      arguments.put("filters", null);
    } else if (function.equals("user")) {
      arguments.put("page", 1);
    }
    List<Object> positional = list(call.get("positional"));
    for (int at = 0; at < positional.size(); at++) {
      arguments.put(ARGUMENTS.get(function).get(at), positional.get(at));
    }
    arguments.putAll(map(call.get("named")));
    CallKey key = CallKey.of(TEMPLATES.get(function));
    arguments.forEach(key::arg);
    return key.key();
  }

  private static Object keys(List<Object> calls) {
    List<Object> found = new ArrayList<>();
    for (Object call : calls) {
      Key key = key(map(call));
      found.add(Map.of("key", key.key(), "params", key.params()));
    }
    return found;
  }

  /** Stores values as those of calls. */
  private Object write(List<Object> calls, List<Object> values) {
    List<Boolean> stored = new ArrayList<>();
    for (int at = 0; at < calls.size(); at++) {
      Key key = key(map(calls.get(at)));
      stored.add(entries.set(key, values.get(at), WriteOptions.DEFAULTS).stored());
    }
    return stored;
  }

  /** The values of calls. */
  private Object read(List<Object> calls) {
    List<Object> found = new ArrayList<>();
    for (Object call : calls) {
      Result<Object> result = entries.get(key(map(call)));
      Map<String, Object> facts = new HashMap<>();
      facts.put("outcome", result.outcome());
      facts.put("value", result.value());
      facts.put("error", result.error().map(Object::toString).orElse(null));
      found.add(facts);
    }
    return found;
  }

  private record Answered(Result<Object> result, double took) {}

  /** Callers that need one key at once, each in a thread of its own. */
  private Object stampede(Map<String, Object> command) throws Exception {
    String key = (String) command.get("key");
    int callers = (int) number(command.get("callers"));
    long millis = (long) (number(command.get("seconds")) * 1000);
    boolean lead = (boolean) command.get("lead");
    AtomicInteger loads = new AtomicInteger();
    CountDownLatch ready = new CountDownLatch(callers);
    Callable<Answered> call =
        () -> {
          ready.countDown();
          ready.await();
          long began = System.nanoTime();
          Result<Object> result =
              entries.getOrFetch(
                  key,
                  context -> {
                    if (loads.incrementAndGet() == 1 && lead) {
                      answer("loading");
                    }
                    Thread.sleep(millis);
                    return key + " by java";
                  },
                  FetchOptions.DEFAULTS.timeout(Duration.ofSeconds(30)));
          return new Answered(result, (System.nanoTime() - began) / NANOS);
        };
    ExecutorService pool = Executors.newFixedThreadPool(callers);
    double slowest = 0;
    int right = 0;
    TreeSet<String> values = new TreeSet<>();
    List<String> wrong = new ArrayList<>();
    try {
      List<Future<Answered>> running = new ArrayList<>();
      for (int at = 0; at < callers; at++) {
        running.add(pool.submit(call));
      }
      for (Future<Answered> each : running) {
        Answered answered = each.get();
        slowest = Math.max(slowest, answered.took());
        Result<Object> result = answered.result();
        if (result.found() && result.error().isEmpty() && !result.degraded()) {
          right++;
          values.add(String.valueOf(result.value()));
        } else if (wrong.size() < 3) {
          wrong.add(result.toString());
        }
      }
    } finally {
      pool.shutdownNow();
    }
    return Map.of(
        "loads", loads.get(), "answers", right, "values", values, "slowest", slowest, "wrong",
        wrong);
  }

  private static double now() {
    return System.currentTimeMillis() / 1000.0;
  }

  /** Changes an entry, and reads it. */
  private Object change(Map<String, Object> command) {
    String key = (String) command.get("key");
    String tag = (String) command.get("tag");
    boolean done;
    switch ((String) command.get("kind")) {
      case "set":
        WriteOptions options = WriteOptions.withTtl(Duration.ofMinutes(1)).tags(tag);
        done = near.set(key, (String) command.get("value"), options).stored();
        break;
      case "delete":
        done = near.delete(key).deleted();
        break;
      default:
        done = !near.invalidate(Targets.tags(tag)).queued();
    }
    double at = now();
    Result<String> result = near.get(key);
    Map<String, Object> facts = new HashMap<>();
    facts.put("done", done);
    facts.put("at", at);
    facts.put("found", result.found());
    facts.put("value", result.value());
    return facts;
  }

  /** Reads by the near cache until it has seen the change. */
  private Object follow(Map<String, Object> command) throws Exception {
    String key = (String) command.get("key");
    Object old = command.get("old");
    Object next = command.get("new");
    int gone = (int) number(command.get("gone"));
    long deadline = System.nanoTime() + LIMIT.toNanos();
    int kept = 0;
    int others = 0;
    double outdatedAt = 0;
    List<String> wrong = new ArrayList<>();
    while (true) {
      if (System.nanoTime() > deadline) {
        wrong.add("no end within " + LIMIT + ": " + kept + " reads of the near cache");
        break;
      }
      double began = now();
      Result<String> result = near.get(key);
      boolean isNear = result.tier().orElse(null) == Tier.CLIENT;
      if (result.found() && Objects.equals(result.value(), old)) {
        others = 0;
        outdatedAt = began;
        if (isNear && ++kept == 1) {
          answer("following");
        }
      } else if (result.found() && !Objects.equals(result.value(), next)) {
        wrong.add(result.toString());
        break;
      } else if (++others >= gone && (next == null || isNear)) {
        break;
      }
      Thread.sleep(1);
    }
    return Map.of("kept", kept, "outdated_at", outdatedAt, "wrong", wrong);
  }
}
