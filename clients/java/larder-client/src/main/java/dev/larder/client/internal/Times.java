package dev.larder.client.internal;

import com.google.protobuf.Duration;
import java.util.concurrent.ThreadLocalRandom;

/** Durations of arguments and messages. Internally all are milliseconds. */
public final class Times {
  /** 100 years, which is more than any server permits: the server shortens it to its limit. */
  private static final double FOREVER_MS = 100d * 365 * 24 * 3_600_000;

  private static final double MS_PER_SECOND = 1000;
  private static final int NANOS_PER_MS = 1_000_000;

  private Times() {}

  /** Milliseconds of the steady clock. */
  public static double now() {
    return System.nanoTime() / (double) NANOS_PER_MS;
  }

  /** Milliseconds, with their fraction. */
  public static double ms(java.time.Duration value) {
    return value.getSeconds() * MS_PER_SECOND + value.getNano() / (double) NANOS_PER_MS;
  }

  /** Milliseconds of a duration that must not be negative or endless. */
  public static double span(java.time.Duration value, String name) {
    double ms = ms(value);
    if (ms < 0 || ms > FOREVER_MS) {
      throw new IllegalArgumentException(
          name + ": must be finite and not negative, got " + value);
    }
    return ms;
  }

  /** As {@link #span}, for a duration that must be positive. */
  public static double positive(java.time.Duration value, String name) {
    double ms = span(value, name);
    if (ms == 0) {
      throw new IllegalArgumentException(name + ": must be positive");
    }
    return ms;
  }

  /** The message of a duration, cut to milliseconds; a positive one is at least a millisecond. */
  public static Duration toWire(double ms) {
    double cut = ms > FOREVER_MS ? FOREVER_MS : ms > 0 && ms < 1 ? 1 : ms;
    long whole = (long) cut;
    return Duration.newBuilder()
        .setSeconds(Math.floorDiv(whole, 1000L))
        .setNanos((int) Math.floorMod(whole, 1000L) * NANOS_PER_MS)
        .build();
  }

  /** Milliseconds of a message. */
  public static double fromWire(Duration value) {
    return value.getSeconds() * MS_PER_SECOND + value.getNanos() / (double) NANOS_PER_MS;
  }

  /** A duration of a message. */
  public static java.time.Duration toJava(Duration value) {
    return java.time.Duration.ofSeconds(value.getSeconds(), value.getNanos());
  }

  /** A duration of milliseconds. */
  public static java.time.Duration toJava(double ms) {
    return java.time.Duration.ofNanos((long) (ms * NANOS_PER_MS));
  }

  /** A random number from {@code low} to {@code high}. */
  public static double random(double low, double high) {
    return low + ThreadLocalRandom.current().nextDouble() * (high - low);
  }
}
