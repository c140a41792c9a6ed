package dev.larder.testing;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.internal.Errors;
import dev.larder.client.internal.Times;
import dev.larder.testing.FakeLeases.Lost;
import dev.larder.testing.FakeStore.Entry;
import dev.larder.testing.FakeStore.Hit;
import dev.larder.testing.FakeStore.Place;
import java.util.List;
import larder.v1.CacheServiceOuterClass.DeleteRequest;
import larder.v1.CacheServiceOuterClass.DeleteResponse;
import larder.v1.CacheServiceOuterClass.Durability;
import larder.v1.CacheServiceOuterClass.GetRequest;
import larder.v1.CacheServiceOuterClass.GetResponse;
import larder.v1.CacheServiceOuterClass.IncrementRequest;
import larder.v1.CacheServiceOuterClass.IncrementResponse;
import larder.v1.CacheServiceOuterClass.Outcome;
import larder.v1.CacheServiceOuterClass.PatchRequest;
import larder.v1.CacheServiceOuterClass.PatchResponse;
import larder.v1.CacheServiceOuterClass.PatchResult;
import larder.v1.CacheServiceOuterClass.RenewRequest;
import larder.v1.CacheServiceOuterClass.RenewResponse;
import larder.v1.CacheServiceOuterClass.RenewResult;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.SetResponse;
import larder.v1.CacheServiceOuterClass.SetResult;
import larder.v1.CacheServiceOuterClass.TouchRequest;
import larder.v1.CacheServiceOuterClass.TouchResponse;
import larder.v1.CacheServiceOuterClass.Value;

/** The calls of one entry. Used under the lock of the fake. */
final class FakeEntries {
  private final FakeLarder fake;
  private final FakeStore store;

  FakeEntries(FakeLarder fake) {
    this.fake = fake;
    this.store = fake.store;
  }

  GetResponse get(GetRequest request) {
    Place place = new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
    FakeChecks.place(place, "");
    Double touch = FakeChecks.positive(request.hasTouch(), request.getTouch(), "touch");
    GetResponse.Builder answer =
        GetResponse.newBuilder()
            .setOutcome(Outcome.OUTCOME_MISS)
            .setDegraded(fake.isDegraded());
    if (fake.isDegraded()) {
      return answer.build();
    }
    Hit found = store.find(place);
    double maxStale =
        request.hasMaxStale() ? Times.fromWire(request.getMaxStale()) : Double.MAX_VALUE;
    boolean usable =
        found != null
            && found.served()
            && (found.fresh() || store.now() - found.entry().freshUntil < maxStale);
    if (!usable) {
      fake.count(place.namespace(), "misses");
      return answer.build();
    }
    Entry entry = found.entry();
    if (found.fresh() && touch != null) {
      FakeNamespace settings = store.settings(place.namespace());
      double latest = entry.writtenAt + Times.ms(settings.maxTtl());
      double until = Math.max(entry.freshUntil, Math.min(store.now() + touch, latest));
      store.fresh(place, entry, until);
    }
    boolean same = request.getIfVersionNot().equals(entry.version);
    answer.setEntry(store.info(entry)).setNotModified(same);
    if (entry.value == null) {
      fake.count(place.namespace(), "negative");
      return answer.setOutcome(Outcome.OUTCOME_NEGATIVE).build();
    }
    fake.count(place.namespace(), found.fresh() ? "hits" : "stale");
    answer.setOutcome(found.fresh() ? Outcome.OUTCOME_HIT : Outcome.OUTCOME_STALE);
    if (!request.getOmitValue() && !same) {
      answer.setValue(entry.value);
    }
    return answer.build();
  }

  static Place place(SetRequest request) {
    return new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
  }

  /** Checks a write as the server does before it stores any of a batch. */
  void check(SetRequest request, String field) {
    FakeChecks.place(place(request), field);
    FakeChecks.tags(request.getTagsList(), field + "tags");
    FakeChecks.positive(request.hasTtl(), request.getTtl(), field + "ttl");
    int limit = store.settings(request.getNamespace()).maxValueBytes();
    FakeChecks.value(request.getValue(), limit, request.getNamespace());
  }

  SetResponse set(SetRequest request) {
    Place place = place(request);
    if (fake.isDegraded()) {
      return refused(SetResult.SET_RESULT_NOT_STORED);
    }
    Entry entry = store.fresh(place);
    Hit any = store.find(place);
    boolean unmet =
        switch (request.getConditionCase()) {
          case IF_ABSENT -> entry != null;
          case IF_PRESENT -> entry == null;
          case IF_VERSION ->
              any == null || !any.entry().version.equals(request.getIfVersion());
          case CONDITION_NOT_SET -> false;
        };
    if (unmet) {
      return refused(SetResult.SET_RESULT_CONDITION_NOT_MET);
    }
    if (!request.getLeaseToken().isEmpty()) {
      Lost lost =
          fake.leases.refusal(place, request.getLeaseToken(), request.getTagsList());
      if (lost != null) {
        return refused(lost.set);
      }
    }
    Double ttl = request.hasTtl() ? Times.fromWire(request.getTtl()) : null;
    Entry stored = store.put(place, request.getValue(), ttl, request.getTagsList());
    fake.count(place.namespace(), "sets");
    fake.changed(place, Lost.SUPERSEDED);
    return SetResponse.newBuilder()
        .setResult(SetResult.SET_RESULT_STORED)
        .setVersion(stored.version)
        .setTtl(store.ttlOf(stored))
        .build();
  }

  private SetResponse refused(SetResult result) {
    return SetResponse.newBuilder().setResult(result).setDegraded(fake.isDegraded()).build();
  }

  DeleteResponse delete(DeleteRequest request) {
    Place place = new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
    FakeChecks.place(place, "");
    if (request.hasIfVersion() && request.getIfVersion().isEmpty()) {
      throw FakeChecks.invalid("if_version", "must not be empty");
    }
    if (fake.isDegraded()) {
      throw FakeChecks.storeUnavailable();
    }
    Hit found = store.find(place);
    boolean wanted =
        !request.hasIfVersion()
            || found != null && found.entry().version.equals(request.getIfVersion());
    DeleteResponse.Builder answer =
        DeleteResponse.newBuilder()
            .setExisted(found != null)
            .setDeleted(found != null && wanted)
            .setDurability(Durability.DURABILITY_APPLIED);
    if (!wanted) {
      return answer.build();
    }
    if (request.getReturnValue() && found != null) {
      answer.setRemoved(store.found(found));
    }
    store.entries.remove(place);
    fake.leases.holdOff(
        Times.fromWire(request.getHoldOff()), (other, tags) -> other.equals(place));
    fake.count(place.namespace(), "deletes");
    fake.changed(place, Lost.INVALIDATED);
    return answer.build();
  }

  TouchResponse touch(TouchRequest request) {
    Place place = new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
    FakeChecks.place(place, "");
    Double ttl = FakeChecks.positive(request.hasTtl(), request.getTtl(), "ttl");
    Entry entry = fake.isDegraded() ? null : store.fresh(place);
    if (entry == null) {
      return TouchResponse.newBuilder().setDegraded(fake.isDegraded()).build();
    }
    FakeNamespace settings = store.settings(place.namespace());
    double given = ttl == null ? Times.ms(settings.ttl()) : ttl;
    double applied = Math.min(given, Times.ms(settings.maxTtl()));
    store.fresh(place, entry, store.now() + applied);
    return TouchResponse.newBuilder().setFound(true).setTtl(Times.toWire(applied)).build();
  }

  private static LarderException precondition(String message, String reason) {
    return Errors.of(Code.FAILED_PRECONDITION, message, ErrorFacts.of(reason));
  }

  IncrementResponse increment(IncrementRequest request) {
    Place place = new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
    FakeChecks.place(place, "");
    Double ttl = FakeChecks.positive(request.hasTtl(), request.getTtl(), "ttl");
    if (fake.isDegraded()) {
      throw FakeChecks.storeUnavailable();
    }
    Entry entry = store.fresh(place);
    if (entry == null && request.getIfPresent()) {
      return IncrementResponse.newBuilder().setMissing(true).build();
    }
    long before = entry == null ? request.getInitial() : integer(entry.value);
    long sum;
    try {
      sum = Math.addExact(before, request.hasDelta() ? request.getDelta() : 1);
    } catch (ArithmeticException overflow) {
      throw precondition("the sum does not fit in 64 bits", "OVERFLOW");
    }
    Double remaining = entry == null ? ttl : Double.valueOf(entry.freshUntil - store.now());
    Value value = Value.newBuilder().setText(String.valueOf(sum)).build();
    Entry stored = store.put(place, value, remaining, entry == null ? List.of() : entry.tags);
    fake.changed(place, Lost.SUPERSEDED);
    return IncrementResponse.newBuilder()
        .setValue(sum)
        .setVersion(stored.version)
        .setTtlRemaining(store.ttlOf(stored))
        .build();
  }

  private static long integer(Value value) {
    try {
      if (value != null && value.hasText() && value.getText().matches("-?\\d{1,19}")) {
        return Long.parseLong(value.getText());
      }
    } catch (NumberFormatException tooLarge) {
      throw precondition("the entry does not fit in 64 bits", "NOT_AN_INTEGER");
    }
    throw precondition("the entry is not a decimal integer of 64 bits", "NOT_AN_INTEGER");
  }

  PatchResponse patch(PatchRequest request) {
    Place place = new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
    FakeChecks.place(place, "");
    if (request.getPatchCase() == PatchRequest.PatchCase.PATCH_NOT_SET) {
      throw FakeChecks.invalid("patch", "must be set");
    }
    if (fake.isDegraded()) {
      throw FakeChecks.storeUnavailable();
    }
    Entry entry = store.fresh(place);
    if (entry == null || entry.value == null) {
      return refused(PatchResult.PATCH_RESULT_MISSING);
    }
    if (request.hasIfVersion() && !request.getIfVersion().equals(entry.version)) {
      return refused(PatchResult.PATCH_RESULT_CONDITION_NOT_MET);
    }
    if (!entry.value.hasJson()) {
      throw precondition("the value of the entry is not JSON", "NOT_JSON");
    }
    Value value = Value.newBuilder().setJson(patched(entry.value.getJson(), request)).build();
    int limit = store.settings(place.namespace()).maxValueBytes();
    FakeChecks.value(value, limit, place.namespace());
    Double ttl = request.hasTtl() ? Times.fromWire(request.getTtl()) : null;
    if (request.getKeep()) {
      ttl = entry.freshUntil - store.now();
    }
    Entry stored = store.put(place, value, ttl, entry.tags);
    fake.changed(place, Lost.SUPERSEDED);
    return PatchResponse.newBuilder()
        .setResult(PatchResult.PATCH_RESULT_APPLIED)
        .setVersion(stored.version)
        .setTtl(store.ttlOf(stored))
        .build();
  }

  private static PatchResponse refused(PatchResult result) {
    return PatchResponse.newBuilder().setResult(result).build();
  }

  private static String patched(String json, PatchRequest request) {
    try {
      JsonNode value = FakePatches.read(json);
      JsonNode changed =
          request.hasMergePatch()
              ? FakePatches.merge(value, FakePatches.read(request.getMergePatch()))
              : FakePatches.apply(value, FakePatches.read(request.getJsonPatch()));
      return changed.toString();
    } catch (FakePatches.NotApplicable error) {
      throw precondition(error.getMessage(), "PATCH_NOT_APPLICABLE");
    } catch (JsonProcessingException | IllegalArgumentException error) {
      throw FakeChecks.invalid("patch", error.getMessage());
    }
  }

  RenewResponse renew(RenewRequest request) {
    Place place = new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
    if (fake.isDegraded()) {
      return RenewResponse.newBuilder().setDegraded(true).build();
    }
    Lost lost = fake.leases.renew(place, request.getLeaseToken());
    if (lost != null) {
      return RenewResponse.newBuilder().setResult(lost.renew).build();
    }
    double leaseTtl = Times.ms(store.settings(place.namespace()).leaseTtl());
    return RenewResponse.newBuilder()
        .setResult(RenewResult.RENEW_RESULT_RENEWED)
        .setExpiresIn(Times.toWire(leaseTtl))
        .build();
  }
}
