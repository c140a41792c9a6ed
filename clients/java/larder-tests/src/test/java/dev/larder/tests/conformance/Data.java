package dev.larder.tests.conformance;

import dev.larder.client.Change;
import dev.larder.client.Deleted;
import dev.larder.client.Incremented;
import dev.larder.client.Invalidated;
import dev.larder.client.LarderException;
import dev.larder.client.ListedKey;
import dev.larder.client.Patched;
import dev.larder.client.Published;
import dev.larder.client.Result;
import dev.larder.client.Touched;
import dev.larder.client.WriteResult;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Results and errors with the names that the cases use. */
final class Data {
  private Data() {}

  private static Map<String, Object> fields(Object... namesAndValues) {
    Map<String, Object> fields = new HashMap<>();
    for (int at = 0; at < namesAndValues.length; at += 2) {
      fields.put((String) namesAndValues[at], namesAndValues[at + 1]);
    }
    return fields;
  }

  static Object of(Object result) {
    if (result instanceof Result<?> read) {
      return fields(
          "outcome", read.outcome().name(),
          "found", read.found(),
          "value", read.value(),
          "version", read.version(),
          "age", read.facts().age(),
          "ttl_remaining", read.facts().ttlRemaining(),
          "tags", read.tags(),
          "tier", read.tier().map(tier -> tier.name().toLowerCase(Locale.ROOT)).orElse(null),
          "degraded", read.degraded(),
          "error", error(read.facts().error()),
          "stored", of(read.facts().stored()),
          "joined", read.joined());
    }
    if (result instanceof WriteResult.Stored stored) {
      return fields(
          "stored", true, "version", stored.version(), "ttl", stored.ttl(), "degraded", false);
    }
    if (result instanceof WriteResult.NotStored refused) {
      return fields(
          "stored", false,
          "reason", refused.reason().name(),
          "degraded", refused.degraded(),
          "error", error(refused.error()));
    }
    if (result instanceof Deleted<?> deleted) {
      return fields(
          "existed", deleted.existed(),
          "deleted", deleted.deleted(),
          "removed", of(deleted.removed()),
          "queued", deleted.queued());
    }
    if (result instanceof Touched touched) {
      return fields(
          "found", touched.found(),
          "ttl", touched.ttl(),
          "degraded", touched.degraded(),
          "error", error(touched.error()));
    }
    if (result instanceof Incremented sum) {
      return fields(
          "value", sum.value(), "version", sum.version(), "ttl_remaining", sum.ttlRemaining());
    }
    if (result instanceof Patched patched) {
      return fields(
          "applied", patched.applied(),
          "missing", patched.missing(),
          "version", patched.version(),
          "ttl", patched.ttl());
    }
    if (result instanceof Invalidated invalidated) {
      return fields(
          "queued", invalidated.queued(),
          "namespace_invalidated", invalidated.namespaceInvalidated(),
          "existed", invalidated.existed());
    }
    if (result instanceof Published published) {
      return fields("targets", published.targets(), "queued", published.queued());
    }
    return other(result);
  }

  private static Object other(Object result) {
    if (result instanceof Boolean || result instanceof Number) {
      return fields("value", result);
    }
    if (result instanceof Map<?, ?> map
        && !map.isEmpty()
        && map.values().stream().allMatch(Data::isResult)) {
      Map<String, Object> results = new LinkedHashMap<>();
      map.forEach((key, one) -> results.put(key.toString(), of(one)));
      return fields("results", results);
    }
    return result instanceof Map<?, ?> map && map.isEmpty() ? fields("results", map) : result;
  }

  private static boolean isResult(Object value) {
    return value instanceof Result<?>
        || value instanceof WriteResult
        || value instanceof Deleted<?>;
  }

  /** An error with the names of its classes. */
  static Map<String, Object> error(Throwable error) {
    if (error == null) {
      return null;
    }
    List<String> classes = new ArrayList<>();
    for (Class<?> type = error.getClass(); type != Object.class; type = type.getSuperclass()) {
      String name = type.getSimpleName();
      boolean base = type == LarderException.class;
      classes.add(base ? "LarderError" : name.replaceFirst("Exception$", ""));
    }
    LarderException failure = error instanceof LarderException larder ? larder : null;
    return fields(
        "class", classes,
        "code", failure == null ? null : failure.code().name(),
        "reason", failure == null ? "" : failure.reason(),
        "retry_after", failure == null ? null : failure.retryAfter().orElse(null),
        "message", error.getMessage());
  }

  /** An event of a watch. */
  static Map<String, Object> event(Change change) {
    if (change instanceof Change.Ready ready) {
      return fields("event", "ready", "resumed", ready.resumed());
    }
    if (change instanceof Change.Reset reset) {
      return fields("event", "reset", "cause", reset.cause().name());
    }
    if (change instanceof Change.KeysChanged changed) {
      return fields(
          "event", "keys", "keys", changed.keys().stream().map(ListedKey::key).toList());
    }
    if (change instanceof Change.TagsInvalidated tagged) {
      return fields("event", "tags", "tags", tagged.tags());
    }
    if (change instanceof Change.PatternInvalidated pattern) {
      return fields("event", "pattern", "glob", pattern.glob());
    }
    return fields("event", "namespace");
  }
}
