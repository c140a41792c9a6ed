package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import dev.larder.client.Change;
import dev.larder.client.Codecs;
import dev.larder.client.NearCacheOptions;
import dev.larder.client.Result;
import dev.larder.client.Result.Facts;
import dev.larder.client.Tier;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import larder.v1.CacheServiceOuterClass.Value;
import org.junit.jupiter.api.Test;

/** The bounds of a near cache. */
class NearCacheTest {
  private static final long MAX_BYTES = 4096;

  private final Feed feed = new Feed(null, unused -> false);
  private final NearCache<String> near =
      new NearCache<>(feed, Codecs.text(), NearCacheOptions.DEFAULTS.maxBytes(MAX_BYTES));

  private void keep(Address address, List<String> tags) {
    NearCache.Pending begun = near.begin(address);
    assertNotNull(begun);
    Facts facts =
        new Facts(
            "1", Duration.ZERO, Duration.ofHours(1), tags, Tier.STORE, false, null, null, false);
    near.end(begun, new Result.Hit<>("v", facts), Value.newBuilder().setText("v").build());
  }

  @Test
  void paramsAndTagsCount() {
    feed.signal(
        new Follow.Signal(Follow.Kind.CHANGE, new Change.Ready(false), 60_000), () -> {});
    keep(new Address("small", Map.of()), List.of());
    assertEquals(1, near.size());
    keep(new Address("params", Map.of("p", "x".repeat((int) MAX_BYTES))), List.of());
    assertEquals(1, near.size());
    keep(new Address("tags", Map.of()), List.of("t".repeat((int) MAX_BYTES)));
    assertEquals(1, near.size());
  }
}
