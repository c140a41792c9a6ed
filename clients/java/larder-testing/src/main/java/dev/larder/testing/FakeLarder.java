package dev.larder.testing;

import com.google.protobuf.Message;
import dev.larder.client.LarderClient;
import dev.larder.client.Targets;
import dev.larder.client.internal.Access;
import dev.larder.client.internal.Times;
import dev.larder.testing.FakeLeases.Lost;
import dev.larder.testing.FakeStore.Place;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.function.Supplier;
import larder.v1.CacheServiceOuterClass.ChangedKey;
import larder.v1.CacheServiceOuterClass.EventTarget;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.KeysChanged;
import larder.v1.CacheServiceOuterClass.PatternTarget;
import larder.v1.CacheServiceOuterClass.TagTarget;
import larder.v1.CacheServiceOuterClass.Target;
import larder.v1.CacheServiceOuterClass.WatchResponse;

/**
 * Larder in this process, for unit tests: {@code new FakeLarder().client()}. It has a clock to
 * advance and failures to switch on. Several clients can share one.
 */
public final class FakeLarder {
  /** Calls that are kept. */
  private static final int MAX_CALLS = 10_000;

  final FakeStore store;
  final FakeLeases leases;
  final FakeEntries entries;
  final FakeFetches fetches;
  final FakeInvalidations invalidations;
  final FakeWatches watches = new FakeWatches();
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<String, FakeNamespace> namespaces = new HashMap<>();
  private final Map<String, Event> events = new HashMap<>();
  private final Map<String, Map<String, Long>> counters = new TreeMap<>();
  private final List<Failing> failures = new ArrayList<>();
  private final Deque<Made> calls = new ArrayDeque<>();
  private boolean degraded;
  private double delay;

  /** A fake without entries. */
  public FakeLarder() {
    store = new FakeStore(namespaces);
    leases = new FakeLeases(store);
    entries = new FakeEntries(this);
    fetches = new FakeFetches(this);
    invalidations = new FakeInvalidations(this);
  }

  private record Event(String namespace, Function<Map<String, String>, Targets> targets) {}

  private static final class Failing {
    final FakeFailure failure;
    long left;

    Failing(FakeFailure failure) {
      this.failure = failure;
      this.left = failure.times();
    }
  }

  /**
   * A call that has reached the fake.
   *
   * @param method such as {@code Get}
   * @param request the message of the call
   */
  public record Made(String method, Message request) {}

  /** Settings of a namespace, as the configuration of the server has them. */
  public FakeLarder namespace(String name, FakeNamespace settings) {
    return locked(
        () -> {
          namespaces.put(name, settings);
          return this;
        });
  }

  /**
   * Targets in a namespace that an event of the business invalidates. An IllegalArgumentException
   * of the function is INVALID_ARGUMENT.
   */
  public FakeLarder event(
      String name, String namespace, Function<Map<String, String>, Targets> targets) {
    return locked(
        () -> {
          events.put(name, new Event(namespace, targets));
          return this;
        });
  }

  /** A client of the fake. It is closed like any other. */
  public LarderClient client() {
    return client(LarderClient.builder());
  }

  /** A client of the fake, with options. Those of connections are not used. */
  public LarderClient client(LarderClient.Builder builder) {
    return Access.client(builder, new FakeTransport(this));
  }

  /** The calls that have reached the fake. */
  public List<Made> calls() {
    return locked(() -> List.copyOf(calls));
  }

  /** Lets time pass for TTLs and leases. */
  public void advance(Duration time) {
    locked(
        () -> {
          store.advance(Times.span(time, "time"));
          leases.wakeAll();
          return null;
        });
  }

  /** Lets calls fail until {@link #recover}. */
  public void fail(FakeFailure failure) {
    locked(() -> failures.add(new Failing(failure)));
  }

  /** The store is away: the server answers, with {@code degraded}. */
  public void degrade() {
    locked(() -> degraded = true);
  }

  /** Time that each call takes. */
  public void delay(Duration time) {
    double ms = Times.span(time, "time");
    locked(() -> delay = ms);
  }

  /** Ends all failures. */
  public void recover() {
    locked(
        () -> {
          failures.clear();
          degraded = false;
          delay = 0;
          return null;
        });
  }

  /** Breaks the streams of Watch, which are made again. */
  public void breakWatches() {
    watches.disturb(FakeWatches.How.BREAK);
  }

  /** Sends Reset on the streams of Watch. */
  public void resetWatches() {
    watches.disturb(FakeWatches.How.RESET);
  }

  /** Removes all entries. */
  public void clear() {
    locked(
        () -> {
          store.entries.clear();
          return null;
        });
    resetWatches();
  }

  <R> R locked(Supplier<R> action) {
    lock.lock();
    try {
      return action.get();
    } finally {
      lock.unlock();
    }
  }

  boolean isDegraded() {
    return degraded;
  }

  /** The delay and the failure of a call before it is handled. */
  record Entering(double delay, FakeFailure failure) {}

  Entering enter(String method, Message request) {
    return locked(
        () -> {
          calls.add(new Made(method, request));
          if (calls.size() > MAX_CALLS) {
            calls.poll();
          }
          for (Failing each : failures) {
            boolean meant =
                each.failure.methods().isEmpty() || each.failure.methods().contains(method);
            if (each.left > 0 && meant) {
              each.left--;
              double after = Times.ms(each.failure.after());
              return new Entering(Math.max(delay, after), each.failure);
            }
          }
          return new Entering(delay, null);
        });
  }

  void count(String namespace, String counter) {
    counters
        .computeIfAbsent(namespace, ignored -> new TreeMap<>())
        .merge(counter, 1L, Long::sum);
  }

  Map<String, Map<String, Long>> counted() {
    return counters;
  }

  /** An entry was written or removed. */
  void changed(Place place, Lost why) {
    leases.voidAt(place, why);
    announce(
        place.namespace(),
        WatchResponse.newBuilder()
            .setKeysChanged(
                KeysChanged.newBuilder()
                    .setNamespace(place.namespace())
                    .addKeys(ChangedKey.newBuilder().setKey(place.key())))
            .build());
  }

  void announce(String namespace, WatchResponse event) {
    leases.wakeAll();
    watches.announce(namespace, event);
  }

  /** The targets of an event; empty without rules. */
  List<Target> targetsOf(EventTarget target) {
    Event event = events.get(target.getName());
    if (event == null) {
      return List.of();
    }
    Targets selected;
    try {
      selected = event.targets().apply(target.getAttributesMap());
    } catch (IllegalArgumentException error) {
      throw FakeChecks.invalid("event.attributes", error.getMessage());
    }
    List<Target> all = new ArrayList<>();
    if (!selected.tags().isEmpty()) {
      TagTarget.Builder tags = TagTarget.newBuilder().setNamespace(event.namespace());
      all.add(Target.newBuilder().setTags(tags.addAllTags(selected.tags())).build());
    }
    for (String glob : selected.globs()) {
      PatternTarget.Builder pattern = PatternTarget.newBuilder().setNamespace(event.namespace());
      all.add(Target.newBuilder().setPattern(pattern.setGlob(glob)).build());
    }
    selected
        .keys()
        .forEach(
            key ->
                all.add(
                    Target.newBuilder()
                        .setKey(
                            KeyRef.newBuilder()
                                .setNamespace(event.namespace())
                                .setKey(key.key()))
                        .build()));
    return all;
  }
}
