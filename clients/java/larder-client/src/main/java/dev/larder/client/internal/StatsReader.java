package dev.larder.client.internal;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor.JavaType;
import dev.larder.client.Stats;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import larder.v1.CacheServiceOuterClass.Counters;
import larder.v1.CacheServiceOuterClass.Latency;
import larder.v1.CacheServiceOuterClass.NamespaceStats;
import larder.v1.CacheServiceOuterClass.StatsResponse;
import larder.v1.CacheServiceOuterClass.StoreStats;

/** Statistics of messages. */
final class StatsReader {
  private StatsReader() {}

  static Stats read(List<StatsResponse> pages) {
    StatsResponse first = pages.get(0);
    Map<String, Stats.OfNamespace> namespaces = new TreeMap<>();
    for (StatsResponse page : pages) {
      for (NamespaceStats each : page.getNamespacesList()) {
        namespaces.put(
            each.getNamespace(),
            new Stats.OfNamespace(
                counters(each.getCounted().getTotal()),
                counters(each.getCounted().getLastHour()),
                counters(each.getCounted().getLastDay()),
                each.getSize().getKeys(),
                each.getSize().getBytes()));
      }
    }
    return new Stats(
        counters(first.getTotals().getTotal()),
        counters(first.getTotals().getLastHour()),
        counters(first.getTotals().getLastDay()),
        namespaces,
        store(first.getStore()),
        first.getDegraded());
  }

  private static Stats.Counters counters(Counters message) {
    Map<String, Long> counts = new TreeMap<>();
    Map<String, Duration> latencies = new TreeMap<>();
    for (FieldDescriptor field : Counters.getDescriptor().getFields()) {
      if (field.getJavaType() == JavaType.LONG) {
        counts.put(field.getName(), (Long) message.getField(field));
      } else if (field.getJavaType() == JavaType.MESSAGE && message.hasField(field)) {
        Latency latency = (Latency) message.getField(field);
        latencies.put(field.getName(), Times.toJava(latency.getP50()));
      }
    }
    return new Stats.Counters(
        counts, message.hasHitRate() ? message.getHitRate() : null, latencies);
  }

  private static Map<String, Object> store(StoreStats message) {
    Map<String, Object> facts = new LinkedHashMap<>();
    message
        .getAllFields()
        .forEach(
            (field, value) -> {
              boolean duration = value instanceof com.google.protobuf.Duration;
              facts.put(
                  field.getName(),
                  duration ? Times.toJava((com.google.protobuf.Duration) value) : value);
            });
    return facts;
  }
}
