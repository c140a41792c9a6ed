package dev.larder.client;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/**
 * Statistics of the whole fleet.
 *
 * @param total events since the counting began, of all selected namespaces
 * @param lastHour events of the last hour
 * @param lastDay events of the last 24 hours
 * @param namespaces statistics by namespace
 * @param store facts of the store, such as {@code kind}, {@code keys} and {@code used_bytes}
 * @param degraded whether the store was unreachable: the counters are those of one replica
 */
public record Stats(
    Counters total,
    Counters lastHour,
    Counters lastDay,
    Map<String, OfNamespace> namespaces,
    Map<String, Object> store,
    boolean degraded) {

  /**
   * Statistics of one namespace.
   *
   * @param total events since the counting began
   * @param lastHour events of the last hour
   * @param lastDay events of the last 24 hours
   * @param keys number of entries; 0 if the server does not have it
   * @param bytes memory of the entries in the store
   */
  public record OfNamespace(
      Counters total, Counters lastHour, Counters lastDay, long keys, long bytes) {}

  /**
   * Events of one time window.
   *
   * @param counts all counters by their name in the protocol, such as {@code hits}
   * @param hitRate share of reads that a cache answered; null if there were none
   * @param latencies medians of latencies by name, such as {@code hit_latency}
   */
  public record Counters(
      Map<String, Long> counts, Double hitRate, Map<String, Duration> latencies) {
    /** A counter; 0 for one that the server does not have. */
    public long get(String name) {
      return counts.getOrDefault(name, 0L);
    }

    /** Share of reads that a cache answered. */
    public Optional<Double> rate() {
      return Optional.ofNullable(hitRate);
    }
  }
}
