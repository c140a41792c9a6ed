package dev.larder.testing;

import com.google.protobuf.Duration;
import dev.larder.client.internal.Times;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import larder.v1.CacheServiceOuterClass.EntryInfo;
import larder.v1.CacheServiceOuterClass.Found;
import larder.v1.CacheServiceOuterClass.Outcome;
import larder.v1.CacheServiceOuterClass.Tier;
import larder.v1.CacheServiceOuterClass.Value;

/** The entries of the fake, and its clock. Used under the lock of the fake. */
final class FakeStore {
  private static final SecureRandom RANDOM = new SecureRandom();

  final Map<Place, Entry> entries = new LinkedHashMap<>();
  private final Map<String, FakeNamespace> namespaces;
  private double offset;

  FakeStore(Map<String, FakeNamespace> namespaces) {
    this.namespaces = namespaces;
  }

  /** Where an entry is. */
  record Place(String namespace, String key, Map<String, String> params) {}

  /** An entry; a null value is the cached absence of one. */
  static final class Entry {
    Value value;
    String version;
    List<String> tags;
    double writtenAt;
    double freshUntil;

    /** Until then a read returns it. */
    double staleUntil;

    /** Until then it is the substitute of a value whose computation fails. */
    double keptUntil;
  }

  /** An entry within its TTL or one of its windows; {@code served}: a read returns it. */
  record Hit(Entry entry, boolean fresh, boolean served) {}

  static byte[] random(int bytes) {
    byte[] random = new byte[bytes];
    RANDOM.nextBytes(random);
    return random;
  }

  /** Milliseconds of a clock that runs on and can be advanced. */
  double now() {
    return Times.now() + offset;
  }

  void advance(double ms) {
    offset += ms;
  }

  FakeNamespace settings(String namespace) {
    return namespaces.getOrDefault(namespace, FakeNamespace.DEFAULTS);
  }

  Hit find(Place place) {
    Entry entry = entries.get(place);
    if (entry == null) {
      return null;
    }
    if (now() < entry.freshUntil) {
      return new Hit(entry, true, true);
    }
    if (now() < entry.keptUntil) {
      return new Hit(entry, false, now() < entry.staleUntil);
    }
    entries.remove(place);
    return null;
  }

  Entry fresh(Place place) {
    Hit found = find(place);
    return found != null && found.fresh() ? found.entry() : null;
  }

  /** Stores a value; {@code ttl} in milliseconds, null: the default. */
  Entry put(Place place, Value value, Double ttl, List<String> tags) {
    FakeNamespace settings = settings(place.namespace());
    double given = ttl == null ? Times.ms(settings.ttl()) : ttl;
    Entry entry = new Entry();
    entry.value = value;
    entry.version = HexFormat.of().formatHex(random(8));
    entry.tags = List.copyOf(new TreeSet<>(tags));
    entry.writtenAt = now();
    fresh(place, entry, entry.writtenAt + Math.min(given, Times.ms(settings.maxTtl())));
    entries.put(place, entry);
    return entry;
  }

  /** Makes an entry fresh until a time. */
  void fresh(Place place, Entry entry, double until) {
    FakeNamespace settings = settings(place.namespace());
    entry.freshUntil = until;
    entry.staleUntil = until + Times.ms(settings.stale());
    double error = until + Times.ms(settings.staleIfError());
    entry.keptUntil = Math.max(entry.staleUntil, error);
  }

  /** The places of a namespace with an entry. */
  List<Place> of(String namespace) {
    List<Place> found = new ArrayList<>();
    for (Place place : List.copyOf(entries.keySet())) {
      if (place.namespace().equals(namespace) && find(place) != null) {
        found.add(place);
      }
    }
    return found;
  }

  Duration ttlOf(Entry entry) {
    return Times.toWire(Math.round(entry.freshUntil - entry.writtenAt));
  }

  EntryInfo info(Entry entry) {
    return EntryInfo.newBuilder()
        .setVersion(entry.version)
        .setAge(Times.toWire(Math.max(0, now() - entry.writtenAt)))
        .setTtlRemaining(Times.toWire(Math.max(0, entry.freshUntil - now())))
        .addAllTags(entry.tags)
        .setTier(Tier.TIER_STORE)
        .build();
  }

  Found found(Hit hit) {
    Found.Builder found = Found.newBuilder().setEntry(info(hit.entry()));
    if (hit.entry().value == null) {
      return found.setOutcome(Outcome.OUTCOME_NEGATIVE).build();
    }
    return found
        .setValue(hit.entry().value)
        .setOutcome(hit.fresh() ? Outcome.OUTCOME_HIT : Outcome.OUTCOME_STALE)
        .build();
  }
}
