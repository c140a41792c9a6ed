package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.util.Date;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.Test;

/** Types of Java in keys, which the conformance cases do not have. */
class CanonicalTest {
  private static String form(Object value) {
    return Canonical.text(value, "a");
  }

  @Test
  void noTwoTimesShareAForm() {
    String second = "2026-11-29T10:00:00";
    for (String fraction : new String[] {"", ".125", ".000001", ".0000005", ".000000501"}) {
      LocalDateTime local = LocalDateTime.parse(second + fraction);
      String digits =
          switch (fraction) {
            case "" -> "";
            case ".125" -> ".125000";
            case ".0000005" -> ".000000500";
            default -> fraction;
          };
      assertEquals("{\"$datetime\":\"" + second + digits + "\"}", form(local));
      assertEquals(
          "{\"$datetime\":\"" + second + digits + "+00:00\"}",
          form(Instant.parse(second + fraction + "Z")));
      assertEquals("{\"$time\":\"10:00:00" + digits + "\"}", form(local.toLocalTime()));
    }
  }

  @Test
  void aDateOfSqlIsRefusedWithTheNameOfTheArgument() {
    Date date = java.sql.Date.valueOf("2026-11-29");
    IllegalArgumentException error =
        assertThrows(IllegalArgumentException.class, () -> form(date));
    assertTrue(error.getMessage().startsWith("the argument a: "), error.getMessage());
    assertEquals(
        "{\"$datetime\":\"1970-01-01T00:00:00.125000+00:00\"}",
        form(new java.sql.Timestamp(125)));
  }

  private static void shown(String text, Object value) {
    Template.Rendered rendered = new Template("user:{a}").render(Map.of("a", value));
    assertEquals("user:" + text, rendered.key());
    assertEquals(Set.of("a"), rendered.unclear());
  }

  @Test
  void templatesShowTheTextOfTimesAndIdentifiers() {
    shown(
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        UUID.fromString("6ba7b810-9dad-11d1-80b4-00c04fd430c8"));
    shown("1.10", new BigDecimal("1.10"));
    shown("2026-11-29T10:00:00+00:00", Instant.parse("2026-11-29T10:00:00Z"));
    shown("1970-01-01T00:00:01+00:00", new Date(1000));
    shown("2026-11-29T10:00:00+01:00", OffsetDateTime.parse("2026-11-29T10:00:00+01:00"));
    shown(
        "2026-11-29T10:00:00+01:00",
        ZonedDateTime.of(LocalDateTime.parse("2026-11-29T10:00:00"), ZoneId.of("Europe/Paris")));
    shown("2026-11-29T10:00:00", LocalDateTime.parse("2026-11-29T10:00"));
    shown("2026-11-29", LocalDate.parse("2026-11-29"));
    shown("10:00:00", LocalTime.parse("10:00"));
  }
}
