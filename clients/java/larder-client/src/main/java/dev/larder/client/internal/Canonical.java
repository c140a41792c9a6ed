package dev.larder.client.internal;

import com.fasterxml.jackson.core.JsonProcessingException;
import dev.larder.client.LarderKey;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.RecordComponent;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.MathContext;
import java.math.RoundingMode;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;

/**
 * Canonical JSON: equal values have equal text in all languages. No white space, names sorted by
 * their UTF-8, numbers and text as in RFC 8785; types that JSON lacks are objects with one tag.
 */
public final class Canonical {
  /** Deepest nesting, which also ends values that contain themselves. */
  private static final int MAX_DEPTH = 64;

  private static final int DIGITS = 17;
  private static final List<String> TEXT_TAGS =
      List.of("$datetime", "$date", "$time", "$uuid", "$decimal");
  private static final Set<String> TAGS =
      Set.of("$bytes", "$datetime", "$date", "$time", "$uuid", "$decimal", "$set");
  private static final DateTimeFormatter DATE = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'");
  private static final DateTimeFormatter SECONDS = DateTimeFormatter.ofPattern("HH:mm:ss");
  private static final DateTimeFormatter MICROS = DateTimeFormatter.ofPattern("HH:mm:ss.SSSSSS");
  private static final DateTimeFormatter NANOS =
      DateTimeFormatter.ofPattern("HH:mm:ss.SSSSSSSSS");
  private static final int NANOS_PER_MICRO = 1000;

  private Canonical() {}

  /**
   * The canonical form of a value.
   *
   * @param path the name of the argument, for the error
   * @throws IllegalArgumentException for a value that cannot be part of a key
   */
  public static String text(Object value, String path) {
    return encode(value, path, 0);
  }

  private static IllegalArgumentException refuse(String why, String path) {
    return new IllegalArgumentException("the argument " + path + ": " + why);
  }

  private static String encode(Object value, String path, int depth) {
    if (value == null) {
      return "null";
    }
    if (depth > MAX_DEPTH) {
      throw refuse("deeper than " + MAX_DEPTH + " levels", path);
    }
    if (value instanceof LarderKey own) {
      return encode(own.toLarderKey(), path, depth + 1);
    }
    if (value instanceof CharSequence || value instanceof Character) {
      return quote(value.toString(), path);
    }
    if (value instanceof Boolean
        || value instanceof Byte
        || value instanceof Short
        || value instanceof Integer
        || value instanceof Long
        || value instanceof BigInteger) {
      return value.toString();
    }
    if (value instanceof Double || value instanceof Float) {
      return number(((Number) value).doubleValue(), path);
    }
    if (value instanceof byte[] bytes) {
      return tagged("$bytes", Base64.getEncoder().encodeToString(bytes));
    }
    String simple = simple(value, path);
    return simple != null ? simple : composite(value, path, depth);
  }

  /** Times, identifiers and decimals; null for another value. */
  private static String simple(Object value, String path) {
    if (value instanceof OffsetDateTime time) {
      return tagged("$datetime", time(time));
    }
    if (value instanceof ZonedDateTime time) {
      return tagged("$datetime", time(time.toOffsetDateTime()));
    }
    if (value instanceof Instant instant) {
      return tagged("$datetime", time(instant.atOffset(ZoneOffset.UTC)));
    }
    if (value instanceof Date date) {
      return tagged("$datetime", time(instant(date, path).atOffset(ZoneOffset.UTC)));
    }
    if (value instanceof LocalDateTime local) {
      return tagged("$datetime", local.format(DATE) + clock(local.toLocalTime()));
    }
    if (value instanceof LocalDate date) {
      return tagged("$date", date.toString());
    }
    if (value instanceof LocalTime time) {
      return tagged("$time", clock(time));
    }
    if (value instanceof UUID id) {
      return tagged("$uuid", id.toString());
    }
    if (value instanceof BigDecimal decimal) {
      return tagged("$decimal", decimal.toString());
    }
    return null;
  }

  private static Instant instant(Date date, String path) {
    try {
      return date.toInstant();
    } catch (UnsupportedOperationException partial) {
      // A java.sql.Date has no time, and a java.sql.Time no date.
      throw refuse(
          "a " + date.getClass().getName() + " is no instant: use a LocalDate or a LocalTime",
          path);
    }
  }

  /**
   * A time of a day as other languages write it: with microseconds, if it has a fraction. They
   * have no nanoseconds, which are written if there are some: no other call shares the key.
   */
  private static String clock(LocalTime time) {
    if (time.getNano() == 0) {
      return time.format(SECONDS);
    }
    return time.format(time.getNano() % NANOS_PER_MICRO == 0 ? MICROS : NANOS);
  }

  private static String time(OffsetDateTime time) {
    String offset = time.getOffset().getTotalSeconds() == 0 ? "+00:00" : time.getOffset().getId();
    return time.format(DATE) + clock(time.toLocalTime()) + offset;
  }

  private static String composite(Object value, String path, int depth) {
    if (value instanceof Enum<?> constant) {
      return quote(constant.name(), path);
    }
    if (value instanceof Set<?> set) {
      List<String> members = new ArrayList<>();
      set.forEach(member -> members.add(encode(member, path + "{}", depth + 1)));
      members.sort(Names.BY_UTF8);
      return "{\"$set\":[" + String.join(",", members) + "]}";
    }
    if (value instanceof Collection<?> || value instanceof Object[]) {
      Collection<?> list =
          value instanceof Object[] array ? List.of(array) : (Collection<?>) value;
      List<String> members = new ArrayList<>();
      for (Object member : list) {
        members.add(encode(member, path + "[" + members.size() + "]", depth + 1));
      }
      return "[" + String.join(",", members) + "]";
    }
    if (value instanceof Map<?, ?> map) {
      return object(named(map, path), path, depth);
    }
    if (value instanceof Record record) {
      return object(components(record), path, depth);
    }
    throw refuse(
        "a "
            + value.getClass().getName()
            + " cannot be part of a key: leave it out, or let it implement LarderKey",
        path);
  }

  private static Map<String, Object> named(Map<?, ?> map, String path) {
    Map<String, Object> members = new LinkedHashMap<>();
    map.forEach(
        (name, member) -> {
          if (!(name instanceof String text)) {
            throw refuse("its key " + name + " is not text", path);
          }
          members.put(text, member);
        });
    if (members.size() == 1 && TAGS.contains(members.keySet().iterator().next())) {
      // It would have the form of another type, hence the key of another call.
      throw refuse("a map with the only name " + members.keySet() + " is reserved", path);
    }
    return members;
  }

  private static Map<String, Object> components(Record record) {
    Map<String, Object> members = new LinkedHashMap<>();
    for (RecordComponent component : record.getClass().getRecordComponents()) {
      try {
        component.getAccessor().setAccessible(true);
        members.put(component.getName(), component.getAccessor().invoke(record));
      } catch (IllegalAccessException | InvocationTargetException error) {
        throw new IllegalArgumentException(
            "the component " + component.getName() + " cannot be read", error);
      }
    }
    return members;
  }

  private static String object(Map<String, Object> members, String path, int depth) {
    List<String> names = new ArrayList<>(members.keySet());
    names.sort(Names.BY_UTF8);
    List<String> parts = new ArrayList<>();
    for (String name : names) {
      String form = encode(members.get(name), path + "." + name, depth + 1);
      parts.add(quote(name, path) + ":" + form);
    }
    return "{" + String.join(",", parts) + "}";
  }

  private static String tagged(String tag, String text) {
    return "{\"" + tag + "\":" + quote(text, tag) + "}";
  }

  private static String quote(String text, String path) {
    if (!Names.isWellFormed(text)) {
      throw refuse("text that is not valid Unicode", path);
    }
    StringBuilder quoted = new StringBuilder("\"");
    for (int at = 0; at < text.length(); at++) {
      char unit = text.charAt(at);
      switch (unit) {
        case '"', '\\' -> quoted.append('\\').append(unit);
        case '\b' -> quoted.append("\\b");
        case '\f' -> quoted.append("\\f");
        case '\n' -> quoted.append("\\n");
        case '\r' -> quoted.append("\\r");
        case '\t' -> quoted.append("\\t");
        default -> {
          if (unit < ' ') {
            quoted.append(String.format("\\u%04x", (int) unit));
          } else {
            quoted.append(unit);
          }
        }
      }
    }
    return quoted.append('"').toString();
  }

  /** The text within the form of a date, a time, a UUID or a decimal; null: it is another form. */
  static String tagless(String form) {
    for (String tag : TEXT_TAGS) {
      String before = "{\"" + tag + "\":";
      if (form.startsWith(before)) {
        return untext(form.substring(before.length(), form.length() - 1));
      }
    }
    return null;
  }

  /** The text of a canonical form of text. */
  static String untext(String form) {
    try {
      return JsonText.MAPPER.readValue(form, String.class);
    } catch (JsonProcessingException error) {
      throw new IllegalStateException("a canonical form is JSON", error);
    }
  }

  /** A number as RFC 8785 writes it: the shortest digits that give it back. */
  private static String number(double value, String path) {
    if (!Double.isFinite(value)) {
      throw refuse(value + " is not a finite number", path);
    }
    if (value == 0) {
      return "0";
    }
    BigDecimal exact = new BigDecimal(Math.abs(value));
    BigDecimal shortest = exact;
    for (int digits = 1; digits <= DIGITS; digits++) {
      shortest = exact.round(new MathContext(digits, RoundingMode.HALF_EVEN));
      if (shortest.doubleValue() == Math.abs(value)) {
        break;
      }
    }
    String digits = shortest.stripTrailingZeros().unscaledValue().toString();
    // The number is 0.digits * 10^point.
    int point = digits.length() - shortest.stripTrailingZeros().scale();
    String text;
    if (point > 21 || point < -5) {
      String exponent = (point > 0 ? "+" : "-") + Math.abs(point - 1);
      text =
          digits.charAt(0)
              + (digits.length() > 1 ? "." + digits.substring(1) : "")
              + "e"
              + exponent;
    } else if (point <= 0) {
      text = "0." + "0".repeat(-point) + digits;
    } else if (point >= digits.length()) {
      text = digits + "0".repeat(point - digits.length());
    } else {
      text = digits.substring(0, point) + "." + digits.substring(point);
    }
    return value < 0 ? "-" + text : text;
  }
}
