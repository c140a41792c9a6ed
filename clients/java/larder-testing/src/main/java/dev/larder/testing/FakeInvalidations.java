package dev.larder.testing;

import dev.larder.client.internal.Times;
import dev.larder.testing.FakeStore.Entry;
import dev.larder.testing.FakeStore.Place;
import java.util.List;
import java.util.function.Predicate;
import larder.v1.CacheServiceOuterClass.CountKeysRequest;
import larder.v1.CacheServiceOuterClass.CountKeysResponse;
import larder.v1.CacheServiceOuterClass.DeleteRequest;
import larder.v1.CacheServiceOuterClass.Durability;
import larder.v1.CacheServiceOuterClass.EventResult;
import larder.v1.CacheServiceOuterClass.EventTargetResult;
import larder.v1.CacheServiceOuterClass.InvalidateRequest;
import larder.v1.CacheServiceOuterClass.InvalidateResponse;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.ListKeysRequest;
import larder.v1.CacheServiceOuterClass.ListKeysResponse;
import larder.v1.CacheServiceOuterClass.ListedKey;
import larder.v1.CacheServiceOuterClass.NamespaceInvalidated;
import larder.v1.CacheServiceOuterClass.PatternInvalidated;
import larder.v1.CacheServiceOuterClass.TagsInvalidated;
import larder.v1.CacheServiceOuterClass.Target;
import larder.v1.CacheServiceOuterClass.TargetResult;
import larder.v1.CacheServiceOuterClass.WatchResponse;

/** Invalidations and lists of keys. Used under the lock of the fake. */
final class FakeInvalidations {
  private static final int PAGE = 100;
  private static final int LARGEST_PAGE = 1000;

  private final FakeLarder fake;
  private final FakeStore store;

  FakeInvalidations(FakeLarder fake) {
    this.fake = fake;
    this.store = fake.store;
  }

  InvalidateResponse invalidate(InvalidateRequest request) {
    if (request.getTargetsCount() == 0) {
      throw FakeChecks.invalid("targets", "must not be empty");
    }
    for (int index = 0; index < request.getTargetsCount(); index++) {
      check(request.getTargets(index), "targets[" + index + "].");
    }
    if (fake.isDegraded()) {
      throw FakeChecks.storeUnavailable();
    }
    double holdOff = Times.fromWire(request.getHoldOff());
    InvalidateResponse.Builder answer =
        InvalidateResponse.newBuilder().setDurability(Durability.DURABILITY_APPLIED);
    for (Target target : request.getTargetsList()) {
      if (target.hasEvent()) {
        EventResult.Builder event = EventResult.newBuilder();
        boolean existed = false;
        for (Target each : fake.targetsOf(target.getEvent())) {
          TargetResult result = apply(each, holdOff);
          existed |= result.getExisted();
          event.addTargets(
              EventTargetResult.newBuilder().setTarget(each).setResult(result));
        }
        answer.addEvents(event).addResults(result(existed, false));
      } else {
        answer.addResults(apply(target, holdOff));
      }
    }
    return answer.build();
  }

  private static TargetResult result(boolean existed, boolean whole) {
    return TargetResult.newBuilder()
        .setExisted(existed)
        .setNamespaceInvalidated(whole)
        .setDurability(Durability.DURABILITY_APPLIED)
        .build();
  }

  private static Place place(KeyRef key) {
    return new Place(key.getNamespace(), key.getKey(), key.getParamsMap());
  }

  private static void check(Target target, String field) {
    switch (target.getTargetCase()) {
      case NAMESPACE -> FakeChecks.namespace(target.getNamespace(), field);
      case TAGS -> {
        FakeChecks.namespace(target.getTags().getNamespace(), field + "tags.");
        if (target.getTags().getTagsCount() == 0) {
          throw FakeChecks.invalid(field + "tags.tags", "must not be empty");
        }
        FakeChecks.tags(target.getTags().getTagsList(), field + "tags.tags");
      }
      case PATTERN -> {
        FakeChecks.namespace(target.getPattern().getNamespace(), field + "pattern.");
        FakeChecks.glob(target.getPattern().getGlob(), field + "pattern.glob");
      }
      case KEY -> FakeChecks.place(place(target.getKey()), field + "key.");
      case EVENT -> {
        if (target.getEvent().getName().isEmpty()) {
          throw FakeChecks.invalid(field + "event.name", "must be set");
        }
      }
      case TARGET_NOT_SET ->
          throw FakeChecks.invalid(field.substring(0, field.length() - 1), "must be set");
    }
  }

  private TargetResult apply(Target target, double holdOff) {
    switch (target.getTargetCase()) {
      case NAMESPACE -> {
        String namespace = target.getNamespace();
        whole(namespace);
        fake.leases.holdOff(holdOff, (place, tags) -> place.namespace().equals(namespace));
        return result(false, true);
      }
      case TAGS -> {
        tags(target.getTags().getNamespace(), target.getTags().getTagsList(), holdOff);
        return result(false, false);
      }
      case PATTERN -> {
        pattern(target.getPattern().getNamespace(), target.getPattern().getGlob(), holdOff);
        return result(false, false);
      }
      default -> {
        KeyRef key = target.getKey();
        DeleteRequest request =
            DeleteRequest.newBuilder()
                .setNamespace(key.getNamespace())
                .setKey(key.getKey())
                .putAllParams(key.getParamsMap())
                .setHoldOff(Times.toWire(holdOff))
                .build();
        return result(fake.entries.delete(request).getExisted(), false);
      }
    }
  }

  private void tags(String namespace, List<String> tags, double holdOff) {
    for (Place place : store.of(namespace)) {
      Entry entry = store.entries.get(place);
      if (entry.tags.stream().anyMatch(tags::contains)) {
        store.entries.remove(place);
      }
    }
    fake.leases.banTags(namespace, tags);
    fake.leases.holdOff(
        holdOff,
        (place, held) ->
            place.namespace().equals(namespace) && held.stream().anyMatch(tags::contains));
    fake.announce(
        namespace,
        WatchResponse.newBuilder()
            .setTagsInvalidated(
                TagsInvalidated.newBuilder().setNamespace(namespace).addAllTags(tags))
            .build());
  }

  private void pattern(String namespace, String glob, double holdOff) {
    Predicate<String> matches = FakeChecks.glob(glob, "glob");
    for (Place place : store.of(namespace)) {
      if (matches.test(place.key())) {
        store.entries.remove(place);
      }
    }
    fake.leases.voidWhere(namespace, matches);
    fake.leases.holdOff(
        holdOff,
        (place, tags) -> place.namespace().equals(namespace) && matches.test(place.key()));
    fake.announce(
        namespace,
        WatchResponse.newBuilder()
            .setPatternInvalidated(
                PatternInvalidated.newBuilder().setNamespace(namespace).setGlob(glob))
            .build());
  }

  /** Makes all entries of a namespace unreachable. */
  void whole(String namespace) {
    FakeChecks.namespace(namespace, "");
    if (fake.isDegraded()) {
      throw FakeChecks.storeUnavailable();
    }
    store.of(namespace).forEach(store.entries::remove);
    fake.leases.voidWhere(namespace, key -> true);
    fake.count(namespace, "invalidations");
    fake.announce(
        namespace,
        WatchResponse.newBuilder()
            .setNamespaceInvalidated(
                NamespaceInvalidated.newBuilder().setNamespace(namespace))
            .build());
  }

  private List<ListedKey> matching(String namespace, String glob) {
    FakeChecks.namespace(namespace, "");
    Predicate<String> matches = glob.isEmpty() ? key -> true : FakeChecks.glob(glob, "glob");
    if (fake.isDegraded()) {
      throw FakeChecks.storeUnavailable();
    }
    // The fake has no digests: a text of the params takes their place.
    return store.of(namespace).stream()
        .filter(place -> matches.test(place.key()))
        .map(
            place ->
                ListedKey.newBuilder()
                    .setKey(place.key())
                    .setParamsDigest(
                        place.params().isEmpty() ? "" : place.params().toString())
                    .build())
        .toList();
  }

  /** A page of keys; the token is the number of keys before it. */
  ListKeysResponse list(ListKeysRequest request) {
    List<ListedKey> all = matching(request.getNamespace(), request.getGlob());
    int from = request.getPageToken().isEmpty() ? 0 : Integer.parseInt(request.getPageToken());
    int size = request.getPageSize() == 0 ? PAGE : request.getPageSize();
    int to = Math.min(all.size(), from + Math.min(LARGEST_PAGE, size));
    return ListKeysResponse.newBuilder()
        .addAllKeys(all.subList(Math.min(from, to), to))
        .setNextPageToken(to < all.size() ? String.valueOf(to) : "")
        .build();
  }

  CountKeysResponse count(CountKeysRequest request) {
    int count = matching(request.getNamespace(), request.getGlob()).size();
    return CountKeysResponse.newBuilder().setCount(count).build();
  }
}
