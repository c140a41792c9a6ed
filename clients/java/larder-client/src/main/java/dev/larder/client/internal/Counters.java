package dev.larder.client.internal;

import java.util.EnumMap;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;

/** The counters of a client, by namespace. */
public final class Counters {
  /** Namespaces that are counted by themselves; those beyond are counted under {@code _other}. */
  private static final int MAX_NAMESPACES = 1000;

  /** Names of counters: {@code larder.client.<name>} in OpenTelemetry. */
  public enum Name {
    HITS, MISSES, STALE, NEGATIVES, NEAR_HITS, LOADS, LOAD_ERRORS, JOINED, FAIL_OPEN,
    FILLS_REFUSED, UNDECODABLE, ERRORS, RETRIES;

    /** The name in lower case. */
    public String text() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** Events in one namespace. */
  public static final class Counts {
    private final EnumMap<Name, LongAdder> adders = new EnumMap<>(Name.class);

    private Counts() {
      for (Name name : Name.values()) {
        adders.put(name, new LongAdder());
      }
    }

    /** Counts one event. */
    public void add(Name name) {
      adders.get(name).increment();
    }
  }

  private final Map<String, Counts> namespaces = new ConcurrentHashMap<>();

  /** The counters of a namespace. */
  public Counts of(String namespace) {
    Counts counts = namespaces.get(namespace);
    if (counts != null) {
      return counts;
    }
    String name = namespaces.size() < MAX_NAMESPACES ? namespace : "_other";
    return namespaces.computeIfAbsent(name, ignored -> new Counts());
  }

  /** A copy of all counters. */
  public Map<String, Map<String, Long>> snapshot() {
    Map<String, Map<String, Long>> copy = new TreeMap<>();
    namespaces.forEach(
        (namespace, counts) -> {
          Map<String, Long> values = new TreeMap<>();
          counts.adders.forEach((name, adder) -> values.put(name.text(), adder.sum()));
          copy.put(namespace, values);
        });
    return copy;
  }
}
