import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.Result;
import dev.larder.client.Tier;
import dev.larder.client.WriteOptions;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.CRC32;

/** Callers that read and write until the end, and the facts that they note. */
final class Load {
  private static final int KEYS = 100;
  private static final int MANY = 20;
  private static final int NOTED = 20;
  private static final double NANOS = 1e9;
  private static final WriteOptions TTL = WriteOptions.withTtl(Duration.ofSeconds(20));
  private static final AtomicLong SEQUENCE = new AtomicLong();
  /** The name of each call as often as it is made, of 100. */
  private static final List<String> LOTS = new ArrayList<>();

  static {
    Map.of("get", 25, "near", 35, "fetch", 30, "many", 5, "set", 4, "delete", 1)
        .forEach((call, weight) -> LOTS.addAll(Collections.nCopies(weight, call)));
  }

  /** Codes of errors that a delete may throw. */
  private static final Set<LarderException.Code> OUTAGES =
      EnumSet.of(
          LarderException.Code.UNAVAILABLE,
          LarderException.Code.DEADLINE_EXCEEDED,
          LarderException.Code.RESOURCE_EXHAUSTED,
          LarderException.Code.ABORTED,
          LarderException.Code.INTERNAL,
          LarderException.Code.UNKNOWN,
          LarderException.Code.CANCELLED);

  /** A value with its key and a checksum, as all workers write and check it. */
  record Proof(String key, String writer, long seq, long sum) {
    static Proof of(String key) {
      long seq = SEQUENCE.incrementAndGet();
      return new Proof(key, "java", seq, checksum(key, "java", seq));
    }

    boolean proves(String wanted) {
      return wanted.equals(key) && sum == checksum(key, writer, seq);
    }

    private static long checksum(String key, String writer, long seq) {
      CRC32 sum = new CRC32();
      sum.update((key + "|" + writer + "|" + seq).getBytes(StandardCharsets.UTF_8));
      return sum.getValue();
    }
  }

  private final Namespace<Proof> entries;
  private final Namespace<Proof> near;
  private final List<Thread> threads = new ArrayList<>();
  private volatile boolean ending;

  private final Map<String, Integer> calls = new HashMap<>();
  private final List<String> raised = new ArrayList<>();
  private final List<String> wrong = new ArrayList<>();
  private int hits;
  private int nearHits;
  private int degraded;
  private int refused;
  private double longest;
  private String slowest = "";

  Load(LarderClient client, int callers, long pause) {
    entries = client.namespace(Polyglot.NAMESPACE, Proof.class);
    near =
        client.namespace(
            Polyglot.NAMESPACE, Proof.class, NamespaceOptions.DEFAULTS.withNearCache());
    for (int at = 0; at < callers; at++) {
      Thread thread = new Thread(() -> run(pause));
      threads.add(thread);
      thread.start();
    }
  }

  private void run(long pause) {
    while (!ending) {
      String call = LOTS.get(ThreadLocalRandom.current().nextInt(LOTS.size()));
      long began = System.nanoTime();
      try {
        make(call, someKey());
      } catch (Exception error) {
        failed(call, error);
      }
      done(call, (System.nanoTime() - began) / NANOS);
      try {
        Thread.sleep(pause);
      } catch (InterruptedException error) {
        throw new IllegalStateException("nothing interrupts the callers", error);
      }
    }
  }

  /** One of a few keys that are asked for often. */
  private static String someKey() {
    double share = ThreadLocalRandom.current().nextDouble();
    return "k" + (int) (KEYS * share * share);
  }

  private void make(String call, String key) throws Exception {
    switch (call) {
      case "get":
        read(key, entries.get(key));
        break;
      case "near":
        read(key, near.get(key));
        break;
      case "fetch":
        Result<Proof> result =
            entries.getOrFetch(
                key,
                context -> {
                  Thread.sleep(ThreadLocalRandom.current().nextInt(1, 50));
                  return Proof.of(key);
                });
        read(key, result);
        if (!result.found()) {
          note(wrong, key + ": no value of a loader: " + result);
        }
        break;
      case "many":
        Set<String> keys = new HashSet<>();
        for (int at = 0; at < MANY; at++) {
          keys.add(someKey());
        }
        entries.getMany(keys).forEach(this::read);
        break;
      case "set":
        near.set(key, Proof.of(key), TTL);
        break;
      default:
        near.delete(key);
    }
  }

  private synchronized void read(String key, Result<Proof> result) {
    if (result.degraded()) {
      degraded++;
    } else if (!result.found() && result.error().isPresent()) {
      note(wrong, key + ": " + result.error().get());
    }
    if (result.tier().orElse(null) == Tier.CLIENT) {
      nearHits++;
    }
    if (result.found()) {
      hits++;
      if (!result.value().proves(key)) {
        note(wrong, key + ": " + result.value());
      }
    }
  }

  private synchronized void failed(String call, Exception error) {
    if (call.equals("delete")
        && error instanceof LarderException failure
        && OUTAGES.contains(failure.code())) {
      refused++;
    } else {
      note(raised, call + ": " + error);
    }
  }

  private synchronized void done(String call, double took) {
    calls.merge(call, 1, Integer::sum);
    if (took > longest) {
      longest = took;
      slowest = call;
    }
  }

  private synchronized void note(List<String> list, String text) {
    if (list.size() < NOTED) {
      list.add(text);
    }
  }

  /** The facts until now. */
  synchronized Map<String, Object> facts() {
    return Map.of(
        "calls", Map.copyOf(calls), "hits", hits, "near", nearHits, "degraded", degraded,
        "refused", refused, "longest", longest, "slowest", slowest, "raised",
        List.copyOf(raised), "wrong", List.copyOf(wrong));
  }

  /** Ends the callers. */
  Map<String, Object> end() throws InterruptedException {
    ending = true;
    for (Thread thread : threads) {
      thread.join();
    }
    return facts();
  }
}
