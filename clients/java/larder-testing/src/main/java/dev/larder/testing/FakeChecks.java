package dev.larder.testing;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.google.protobuf.Duration;
import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.internal.Errors;
import dev.larder.client.internal.Globs;
import dev.larder.client.internal.JsonText;
import dev.larder.client.internal.Times;
import dev.larder.client.internal.Values;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import larder.v1.CacheServiceOuterClass.Value;

/** The limits of the server. */
final class FakeChecks {
  private static final Pattern NAMESPACE = Pattern.compile("[a-z0-9][a-z0-9._-]{0,63}");
  private static final int MAX_KEY = 1024;
  private static final int MAX_PARAMS = 64;
  private static final int MAX_TAGS = 32;
  private static final int MAX_TAG = 128;
  private static final int MAX_WILDCARDS = 32;

  private FakeChecks() {}

  /** The error of the server for an argument that it does not accept. */
  static LarderException invalid(String field, String why) {
    return Errors.of(
        Code.INVALID_ARGUMENT,
        field + " " + why,
        new ErrorFacts("INVALID_ARGUMENT", null, null, Map.of("field", field), null));
  }

  static LarderException storeUnavailable() {
    return Errors.of(
        Code.UNAVAILABLE,
        "the store does not answer",
        ErrorFacts.of("STORE_UNAVAILABLE").withRetryAfter(java.time.Duration.ofSeconds(1)));
  }

  private static int bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }

  static void namespace(String namespace, String field) {
    if (!NAMESPACE.matcher(namespace).matches()) {
      throw invalid(field + "namespace", "is not a name of a namespace");
    }
  }

  static void place(FakeStore.Place place, String field) {
    namespace(place.namespace(), field);
    if (place.key().isEmpty()) {
      throw invalid(field + "key", "must not be empty");
    }
    if (bytes(place.key()) > MAX_KEY) {
      throw invalid(field + "key", "is too long");
    }
    if (place.params().size() > MAX_PARAMS) {
      throw invalid(field + "params", "has too many pairs");
    }
  }

  /** Milliseconds of a field that must be positive when it is set; null: it is not. */
  static Double positive(boolean set, Duration value, String field) {
    if (!set) {
      return null;
    }
    double ms = Times.fromWire(value);
    if (ms <= 0) {
      throw invalid(field, "must be positive");
    }
    return ms;
  }

  static void tags(List<String> tags, String field) {
    if (tags.size() > MAX_TAGS) {
      throw invalid(field, "has " + tags.size() + " elements, the limit is " + MAX_TAGS);
    }
    for (int index = 0; index < tags.size(); index++) {
      if (tags.get(index).isEmpty()) {
        throw invalid(field + "[" + index + "]", "must not be empty");
      }
      if (bytes(tags.get(index)) > MAX_TAG) {
        throw invalid(field + "[" + index + "]", "is too long");
      }
    }
  }

  /** The matcher of a glob within the limits. */
  static Predicate<String> glob(String glob, String field) {
    long wildcards = glob.chars().filter(unit -> "*?[".indexOf(unit) >= 0).count();
    if (wildcards > MAX_WILDCARDS) {
      throw invalid(field, "has " + wildcards + " wildcards, the limit is " + MAX_WILDCARDS);
    }
    Predicate<String> matcher = Globs.matcher(glob);
    if (matcher == null || glob.isEmpty()) {
      throw invalid(field, "is not a pattern");
    }
    return matcher;
  }

  static void value(Value value, int limit, String namespace) {
    if (value.getKindCase() == Value.KindCase.KIND_NOT_SET) {
      throw invalid("value", "must be set");
    }
    int size = Values.size(value);
    if (size > limit) {
      throw Errors.of(
          Code.RESOURCE_EXHAUSTED,
          "value is "
              + size
              + " bytes long, the limit of namespace "
              + namespace
              + " is "
              + limit,
          new ErrorFacts(
              "VALUE_TOO_LARGE",
              null,
              null,
              Map.of("field", "value", "limit", String.valueOf(limit)),
              null));
    }
    if (value.hasJson()) {
      try {
        JsonText.MAPPER.readTree(value.getJson());
      } catch (JsonProcessingException error) {
        throw invalid("value.json", "is not valid JSON: " + error.getOriginalMessage());
      }
    }
  }
}
