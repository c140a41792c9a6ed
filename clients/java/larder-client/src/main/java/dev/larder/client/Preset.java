package dev.larder.client;

import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;

/** Limits of a client that belong together. Each can be set by itself, too. */
public enum Preset {
  /** For services in the network of the server: 500 ms for a call. */
  SERVICE(500, 1000, 1000, 30_000, null),
  /** For development: 5 s for a call. */
  LOCAL(5000, 5000, 5000, null, null),
  /** 100 ms for a call. */
  LOW_LATENCY(100, 500, 250, 30_000, null),
  /** For functions that are frozen between calls: no pings, idle connections are replaced. */
  LAMBDA(1000, 1000, 1000, null, 240_000);

  private final Duration call;
  private final Duration connect;
  private final Duration waitMargin;
  private final Duration keepalive;
  private final Duration maxIdle;

  Preset(int call, int connect, int waitMargin, Integer keepalive, Integer maxIdle) {
    this.call = Duration.ofMillis(call);
    this.connect = Duration.ofMillis(connect);
    this.waitMargin = Duration.ofMillis(waitMargin);
    this.keepalive = keepalive == null ? null : Duration.ofMillis(keepalive);
    this.maxIdle = maxIdle == null ? null : Duration.ofMillis(maxIdle);
  }

  /** Time limit of a call. */
  public Duration callTimeout() {
    return call;
  }

  /** Time limit of a connection, and what the first call has in addition. */
  public Duration connectTimeout() {
    return connect;
  }

  /** The time that {@code getOrFetch} has in addition to its wait. */
  public Duration waitMargin() {
    return waitMargin;
  }

  /** Time between pings while calls run; null: none. */
  public Duration keepalive() {
    return keepalive;
  }

  /** Idle time after which a connection is replaced; null: none. */
  public Duration maxIdle() {
    return maxIdle;
  }

  /**
   * The preset of that name, such as {@code low_latency}.
   *
   * @throws IllegalArgumentException if there is none
   */
  public static Preset of(String name) {
    return named(Preset.class, "preset", name);
  }

  static <E extends Enum<E>> E named(Class<E> type, String argument, String name) {
    for (E value : type.getEnumConstants()) {
      if (value.name().toLowerCase(Locale.ROOT).equals(name)) {
        return value;
      }
    }
    String all = Arrays.toString(type.getEnumConstants()).toLowerCase(Locale.ROOT);
    throw new IllegalArgumentException(argument + ": expected one of " + all + ", got " + name);
  }
}
