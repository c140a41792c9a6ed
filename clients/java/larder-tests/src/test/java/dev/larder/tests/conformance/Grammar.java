package dev.larder.tests.conformance;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.larder.client.LarderKey;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Duration;
import java.time.LocalDate;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.function.BiFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Values, durations and expectations of the cases, as clients/conformance/README.md has them. */
final class Grammar {
  static final ObjectMapper JSON = new ObjectMapper();

  private static final Pattern DURATION = Pattern.compile("(-?\\d+(?:\\.\\d+)?)(ms|s|m|h|d)");
  private static final Map<String, Double> UNITS =
      Map.of("ms", 1d, "s", 1e3, "m", 6e4, "h", 36e5, "d", 864e5);

  /** Fields of a result that are durations. */
  private static final Set<String> TIMES = Set.of("ttl", "ttl_remaining", "age", "retry_after");

  /** Tolerance of durations, in milliseconds. */
  private static final double CLOSE = 1.5;

  private static final Set<String> MATCHERS =
      Set.of("$between", "$any", "$not", "$has", "$begins", "$exactly");

  private static final Map<String, BiFunction<Object, Map<String, Object>, Object>> TAGS = tags();

  private Grammar() {}

  /** A result that is not as expected. */
  static final class Mismatch extends AssertionError {
    private static final long serialVersionUID = 1L;

    Mismatch(String message) {
      super(message);
    }
  }

  /** An object that cannot be part of a key. */
  private static final class Opaque {}

  /** Milliseconds of a duration such as {@code 250ms}; null for anything else. */
  static Double milliseconds(Object text) {
    Matcher found = text instanceof String string ? DURATION.matcher(string) : null;
    return found == null || !found.matches()
        ? null
        : Double.valueOf(found.group(1)) * UNITS.get(found.group(2));
  }

  static Duration duration(Object text) {
    Double ms = milliseconds(text);
    return ms == null ? null : Duration.ofNanos(Math.round(ms * 1e6));
  }

  @SuppressWarnings("unchecked")
  static Map<String, Object> map(Object value) {
    return value == null ? Map.of() : (Map<String, Object>) value;
  }

  @SuppressWarnings("unchecked")
  static List<Object> list(Object value) {
    return value == null ? List.of() : (List<Object>) value;
  }

  private static List<String> numbered(Object given) {
    List<Object> pair = list(given);
    return IntStream.range(0, ((Number) pair.get(1)).intValue())
        .mapToObj(number -> pair.get(0).toString() + number)
        .toList();
  }

  private static Map<String, BiFunction<Object, Map<String, Object>, Object>> tags() {
    Map<String, BiFunction<Object, Map<String, Object>, Object>> tags = new LinkedHashMap<>();
    tags.put("$bytes", (given, bound) -> Base64.getDecoder().decode((String) given));
    tags.put("$int", (given, bound) -> new BigInteger((String) given));
    tags.put(
        "$number",
        (given, bound) ->
            Map.of(
                    "nan", Double.NaN,
                    "inf", Double.POSITIVE_INFINITY,
                    "-inf", Double.NEGATIVE_INFINITY)
                .get(given));
    tags.put(
        "$repeat",
        (given, bound) ->
            ((String) list(given).get(0)).repeat(((Number) list(given).get(1)).intValue()));
    tags.put(
        "$concat",
        (given, bound) ->
            list(given).stream()
                .map(part -> expand(part, bound).toString())
                .collect(Collectors.joining()));
    tags.put("$keys", (given, bound) -> numbered(given));
    tags.put("$keys_sorted", (given, bound) -> numbered(given).stream().sorted().toList());
    tags.put(
        "$params",
        (given, bound) -> {
          Map<String, Object> made = new LinkedHashMap<>();
          numbered(given).forEach(name -> made.put(name, list(given).get(2)));
          return made;
        });
    tags.put(
        "$items",
        (given, bound) -> {
          Map<String, Object> spec = map(given);
          Map<String, Object> made = new LinkedHashMap<>();
          numbered(List.of(spec.get("prefix"), spec.get("count")))
              .forEach(name -> made.put(name, expand(spec.get("value"), bound)));
          return made;
        });
    tags.put("$raw", (given, bound) -> given);
    tags.put("$callable", (given, bound) -> given);
    tags.put("$var", (given, bound) -> bound.get((String) given));
    tags.put("$set", (given, bound) -> new LinkedHashSet<>(list(given)));
    tags.put("$datetime", (given, bound) -> OffsetDateTime.parse((String) given));
    tags.put("$date", (given, bound) -> LocalDate.parse((String) given));
    tags.put("$time", (given, bound) -> LocalTime.parse((String) given));
    tags.put("$uuid", (given, bound) -> UUID.fromString((String) given));
    tags.put("$decimal", (given, bound) -> new BigDecimal((String) given));
    tags.put("$opaque", (given, bound) -> new Opaque());
    tags.put("$own_form", (given, bound) -> (LarderKey) () -> given);
    return tags;
  }

  private static String tagOf(Object value) {
    return value instanceof Map<?, ?> map && map.size() == 1
        ? map.keySet().iterator().next().toString()
        : "";
  }

  /** The value that a tagged form such as {@code {$bytes: ...}} stands for. */
  static Object expand(Object value, Map<String, Object> bound) {
    if (value instanceof List<?> items) {
      List<Object> made = new ArrayList<>();
      items.forEach(item -> made.add(expand(item, bound)));
      return made;
    }
    if (!(value instanceof Map<?, ?>)) {
      return "$each".equals(value) ? bound.get("$each") : value;
    }
    String tag = tagOf(value);
    if (TAGS.containsKey(tag)) {
      return TAGS.get(tag).apply(map(value).get(tag), bound);
    }
    Map<String, Object> made = new LinkedHashMap<>();
    map(value).forEach((name, item) -> made.put(name, expand(item, bound)));
    return made;
  }

  private static boolean isWhole(Object value) {
    return value instanceof Integer || value instanceof Long || value instanceof BigInteger;
  }

  /** Equality of values, in which numbers of several types are equal. */
  static boolean same(Object expected, Object actual) {
    if (isWhole(expected) && isWhole(actual)) {
      return new BigInteger(expected.toString()).equals(new BigInteger(actual.toString()));
    }
    if (expected instanceof Number one && actual instanceof Number other) {
      return one.doubleValue() == other.doubleValue();
    }
    if (expected instanceof byte[] one && actual instanceof byte[] other) {
      return Arrays.equals(one, other);
    }
    if (expected instanceof List<?> one && actual instanceof List<?> other) {
      return one.size() == other.size()
          && IntStream.range(0, one.size()).allMatch(at -> same(one.get(at), other.get(at)));
    }
    if (expected instanceof Map<?, ?> one && actual instanceof Map<?, ?> other) {
      return one.keySet().equals(other.keySet())
          && one.entrySet().stream()
              .allMatch(each -> same(each.getValue(), other.get(each.getKey())));
    }
    return expected == null ? actual == null : expected.equals(actual);
  }

  static String shown(Object value) {
    String text;
    try {
      text = JSON.writeValueAsString(value);
    } catch (com.fasterxml.jackson.core.JsonProcessingException error) {
      text = String.valueOf(value);
    }
    return text.length() <= 300 ? text : text.substring(0, 300) + "...";
  }

  private static double amount(Object value) {
    if (value instanceof Duration duration) {
      return duration.toNanos() / 1e6;
    }
    Double ms = milliseconds(value);
    if (ms != null) {
      return ms;
    }
    if (value instanceof Number number) {
      return number.doubleValue();
    }
    throw new Mismatch(shown(value) + " is not a number");
  }

  private static void matchBy(
      String tag, Object given, Object actual, String place, Map<String, Object> bound) {
    boolean fits =
        switch (tag) {
          case "$between" -> {
            double found = amount(actual);
            yield found >= amount(list(given).get(0)) - CLOSE
                && found <= amount(list(given).get(1)) + CLOSE;
          }
          case "$any" -> actual != null && !"".equals(actual);
          case "$not" -> !same(expand(given, bound), actual);
          case "$has" -> {
            Object part = expand(given, bound);
            yield actual instanceof Collection<?> items
                ? items.contains(part)
                : actual != null && actual.toString().contains(part.toString());
          }
          case "$begins" -> actual instanceof String text && text.startsWith((String) given);
          default -> same(expand(given, bound), actual == null ? Map.of() : actual);
        };
    if (!fits) {
      throw new Mismatch(
          place + ": " + shown(actual) + " does not fit " + tag + " " + shown(given));
    }
  }

  /** Throws {@link Mismatch} unless a result is as expected: a map names some of the fields. */
  static void match(Object expected, Object actual, String place, Map<String, Object> bound) {
    String tag = tagOf(expected);
    if (MATCHERS.contains(tag)) {
      matchBy(tag, map(expected).get(tag), actual, place, bound);
      return;
    }
    String field = place.substring(place.lastIndexOf('.') + 1);
    if (TIMES.contains(field) && milliseconds(expected) != null) {
      matchBy("$between", List.of(expected, expected), actual, place, bound);
      return;
    }
    if (field.equals("class")) {
      // A class and those that it extends.
      if (!list(actual).contains(expected)) {
        throw new Mismatch(place + ": " + shown(actual) + " does not have " + expected);
      }
      return;
    }
    boolean value = field.equals("value");
    if (!value && expected instanceof Map<?, ?> && !TAGS.containsKey(tag)) {
      if (!(actual instanceof Map<?, ?>)) {
        throw new Mismatch(place + ": " + shown(actual) + " has no fields");
      }
      map(expected)
          .forEach(
              (name, item) -> match(item, map(actual).get(name), place + "." + name, bound));
      return;
    }
    Object wanted = expand(expected, bound);
    if (!value
        && wanted instanceof List<?> items
        && items.stream().anyMatch(item -> item instanceof Map<?, ?>)) {
      if (!(actual instanceof List<?> found) || found.size() != items.size()) {
        throw new Mismatch(place + ": " + shown(actual) + ", not " + shown(wanted));
      }
      for (int at = 0; at < items.size(); at++) {
        match(items.get(at), found.get(at), place + "." + at, bound);
      }
      return;
    }
    if (!same(wanted, actual)) {
      throw new Mismatch(place + ": " + shown(actual) + ", not " + shown(wanted));
    }
  }

  static boolean fits(Object expected, Object actual, Map<String, Object> bound) {
    try {
      match(expected, actual, "result", bound);
      return true;
    } catch (Mismatch mismatch) {
      return false;
    }
  }

  /** Checks the result of a step. Results of several calls are a list or a map by key. */
  static void matchStep(Map<String, Object> expected, Object actual, Map<String, Object> bound) {
    boolean several =
        actual instanceof List<?>
            || actual instanceof Map<?, ?> fields && fields.containsKey("results");
    if (!several) {
      match(expected, actual, "result", bound);
      return;
    }
    Object results = actual instanceof List<?> ? null : map(actual).get("results");
    Collection<?> every = results == null ? (List<?>) actual : map(results).values();
    expected.forEach(
        (name, item) -> {
          switch (name) {
            case "count" -> match(item, every.size(), "count", bound);
            case "all" -> every.forEach(one -> match(item, one, "result", bound));
            case "results" -> match(item, results, "results", bound);
            case "matching" ->
                list(item)
                    .forEach(
                        each -> {
                          Object of = map(each).get("of");
                          long found =
                              every.stream().filter(one -> fits(of, one, bound)).count();
                          match(map(each).get("count"), found, "number of " + of, bound);
                        });
            default ->
                throw new IllegalStateException("no expectation " + name + " of several");
          }
        });
  }
}
