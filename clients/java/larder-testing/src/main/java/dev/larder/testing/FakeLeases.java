package dev.larder.testing;

import com.google.protobuf.ByteString;
import dev.larder.client.internal.Times;
import dev.larder.testing.FakeStore.Place;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiPredicate;
import java.util.function.Predicate;
import larder.v1.CacheServiceOuterClass.RenewResult;
import larder.v1.CacheServiceOuterClass.SetResult;

/** The leases of the fake, and the callers that wait for them. Used under the lock of the fake. */
final class FakeLeases {
  /** Ended leases whose reason is remembered. */
  private static final int REMEMBERED = 10_000;

  private static final int TOKEN_BYTES = 16;
  private static final int CAUSE_BYTES = 96;

  /** Why a lease is no longer held. */
  enum Lost {
    LEASE_LOST(SetResult.SET_RESULT_LEASE_LOST, RenewResult.RENEW_RESULT_LEASE_LOST),
    INVALIDATED(SetResult.SET_RESULT_INVALIDATED, RenewResult.RENEW_RESULT_INVALIDATED),
    SUPERSEDED(SetResult.SET_RESULT_SUPERSEDED, RenewResult.RENEW_RESULT_SUPERSEDED);

    final SetResult set;
    final RenewResult renew;

    Lost(SetResult set, RenewResult renew) {
      this.set = set;
      this.renew = renew;
    }
  }

  private static final class Held {
    final ByteString token = ByteString.copyFrom(FakeStore.random(TOKEN_BYTES));

    /** Tags that were invalidated since it was granted: values with them are refused. */
    final Set<String> banned = new HashSet<>();

    double expiresAt;
  }

  /** A failed computation. */
  record Backoff(double until, String cause) {}

  private record HoldOff(double until, BiPredicate<Place, List<String>> concerns) {}

  private final Map<Place, Held> held = new HashMap<>();
  private final Map<Place, Backoff> backoffs = new HashMap<>();
  private final Map<Place, Set<CompletableFuture<Void>>> waiters = new HashMap<>();
  private final List<HoldOff> holdOffs = new ArrayList<>();
  private final Map<ByteString, Lost> ended =
      new LinkedHashMap<>() {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<ByteString, Lost> eldest) {
          return size() > REMEMBERED;
        }
      };

  private final FakeStore store;

  FakeLeases(FakeStore store) {
    this.store = store;
  }

  /** Whether a caller computes the value. */
  boolean isBusy(Place place) {
    Held lease = held.get(place);
    if (lease == null) {
      return false;
    }
    if (store.now() < lease.expiresAt) {
      return true;
    }
    end(place, Lost.LEASE_LOST);
    return false;
  }

  /** The back-off after a failed computation; null: there is none. */
  Backoff backoff(Place place) {
    Backoff backoff = backoffs.get(place);
    if (backoff != null && backoff.until() <= store.now()) {
      backoffs.remove(place);
      return null;
    }
    return backoff;
  }

  private double leaseTtl(Place place) {
    return Times.ms(store.settings(place.namespace()).leaseTtl());
  }

  ByteString grant(Place place) {
    Held lease = new Held();
    lease.expiresAt = store.now() + leaseTtl(place);
    held.put(place, lease);
    return lease.token;
  }

  /** Why a fill of the lease is refused; null: it is not. */
  Lost refusal(Place place, ByteString token, List<String> tags) {
    Held lease = held.get(place);
    if (!isBusy(place) || !lease.token.equals(token)) {
      return ended.getOrDefault(token, Lost.LEASE_LOST);
    }
    if (tags.stream().anyMatch(lease.banned::contains)) {
      return Lost.INVALIDATED;
    }
    holdOffs.removeIf(each -> each.until() <= store.now());
    boolean refused = holdOffs.stream().anyMatch(each -> each.concerns().test(place, tags));
    return refused ? Lost.INVALIDATED : null;
  }

  /** Extends the lease. Null: it is extended. */
  Lost renew(Place place, ByteString token) {
    Lost lost = refusal(place, token, List.of());
    if (lost == null) {
      held.get(place).expiresAt = store.now() + leaseTtl(place);
    }
    return lost;
  }

  /** Releases the lease: with a back-off, or for the next caller. */
  void abandon(Place place, ByteString token, String reason, boolean passOn) {
    Held lease = held.get(place);
    if (lease == null || !lease.token.equals(token)) {
      return;
    }
    if (!passOn) {
      double backoff = Times.ms(store.settings(place.namespace()).backoff());
      String cause = reason.substring(0, Math.min(CAUSE_BYTES, reason.length()));
      backoffs.put(place, new Backoff(store.now() + backoff, cause));
    }
    end(place, Lost.LEASE_LOST);
  }

  /** The entry was written, deleted or invalidated: its lease is void. */
  void voidAt(Place place, Lost why) {
    if (held.containsKey(place)) {
      end(place, why);
    }
    backoffs.remove(place);
  }

  /** Voids the leases of a namespace for which {@code concerns} is true. */
  void voidWhere(String namespace, Predicate<String> concerns) {
    for (Place place : List.copyOf(held.keySet())) {
      if (place.namespace().equals(namespace) && concerns.test(place.key())) {
        end(place, Lost.INVALIDATED);
      }
    }
  }

  void banTags(String namespace, List<String> tags) {
    held.forEach(
        (place, lease) -> {
          if (place.namespace().equals(namespace)) {
            lease.banned.addAll(tags);
          }
        });
  }

  /** Rejects fills for a while; zero: not. */
  void holdOff(double ms, BiPredicate<Place, List<String>> concerns) {
    if (ms > 0) {
      holdOffs.add(new HoldOff(store.now() + ms, concerns));
    }
  }

  private void end(Place place, Lost why) {
    Held lease = held.remove(place);
    ended.put(lease.token, why);
    wake(place);
  }

  private void wake(Place place) {
    Set<CompletableFuture<Void>> waiting = waiters.remove(place);
    if (waiting != null) {
      waiting.forEach(each -> each.completeAsync(() -> null, FakeThreads.SHARED));
    }
  }

  /** All callers look again: something has changed. */
  void wakeAll() {
    List.copyOf(waiters.keySet()).forEach(this::wake);
  }

  /** A caller waits no more, as its time is over. */
  void forget(Place place, CompletableFuture<Void> waited) {
    Set<CompletableFuture<Void>> waiting = waiters.get(place);
    if (waiting != null && waiting.remove(waited) && waiting.isEmpty()) {
      waiters.remove(place);
    }
  }

  /** Ends when something changes for the entry, the lease expires, or {@code ms} are over. */
  CompletableFuture<Void> waiting(Place place, double ms, FakeTimer timer) {
    Held lease = held.get(place);
    double expires = lease == null ? ms : lease.expiresAt - store.now();
    CompletableFuture<Void> changed = new CompletableFuture<>();
    waiters.computeIfAbsent(place, ignored -> new HashSet<>()).add(changed);
    timer.after(Math.max(0, Math.min(ms, expires)) + 1, () -> changed.complete(null));
    return changed;
  }
}
