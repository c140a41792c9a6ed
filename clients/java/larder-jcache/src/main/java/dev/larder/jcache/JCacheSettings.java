package dev.larder.jcache;

import dev.larder.client.LarderClient;
import dev.larder.client.OnError;
import dev.larder.client.Preset;
import java.io.IOException;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.format.DateTimeParseException;
import java.util.Arrays;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import javax.cache.CacheException;

/**
 * The options of a cache manager, of its URI and its properties.
 *
 * @param options options of the connection by name
 * @param client a client of the program; null: one is made
 * @param secret signs entries; null: they are not signed
 * @param onError what reads and puts do at an outage
 * @param nearCache whether values are kept in the process
 * @param prefix put before the names of caches
 */
record JCacheSettings(
    TreeMap<String, String> options,
    LarderClient client,
    Secret secret,
    OnError onError,
    boolean nearCache,
    String prefix) {
  /** Properties begin with it. */
  static final String PREFIX = "larder.";

  private static final String CLIENT = PREFIX + "client";
  private static final String SCHEME = "larder";
  private static final int MIN_SECRET = 16;

  /** Options that make a connection: equal ones share a client. */
  private static final Set<String> CONNECTION =
      Set.of(
          "target",
          "preset",
          "token",
          "ca-file",
          "cert-file",
          "key-file",
          "tls",
          "server-name",
          "call-timeout",
          "connect-timeout",
          "wait-timeout",
          "schema-version",
          "allow-plaintext-token");

  private static final Set<String> OWN =
      Set.of("secret", "secret-file", "on-error", "near-cache", "prefix");

  /** Bytes that are not printed. */
  record Secret(byte[] bytes) {
    @Override
    public String toString() {
      return "a secret";
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Secret secret && Arrays.equals(bytes, secret.bytes);
    }

    @Override
    public int hashCode() {
      return Arrays.hashCode(bytes);
    }
  }

  /**
   * Reads the options.
   *
   * @throws CacheException if one is wrong or has another name
   */
  static JCacheSettings of(URI uri, Properties properties) {
    TreeMap<String, String> options = new TreeMap<>();
    for (String name : properties.stringPropertyNames()) {
      if (name.startsWith(PREFIX) && !name.equals(CLIENT)) {
        options.put(name.substring(PREFIX.length()), properties.getProperty(name));
      }
    }
    read(uri, options);
    for (String name : options.keySet()) {
      if (!CONNECTION.contains(name) && !OWN.contains(name)) {
        throw new CacheException("JCache has no option " + PREFIX + name);
      }
    }
    TreeMap<String, String> connection = new TreeMap<>(options);
    connection.keySet().retainAll(CONNECTION);
    return new JCacheSettings(
        connection,
        properties.get(CLIENT) instanceof LarderClient client ? client : null,
        secret(options),
        onError(options.getOrDefault("on-error", "open")),
        bool(options, "near-cache"),
        options.getOrDefault("prefix", ""));
  }

  /** {@code larder:default}, or {@code larder://host:port/prefix?option=value}. */
  private static void read(URI uri, TreeMap<String, String> options) {
    if (!SCHEME.equals(uri.getScheme())) {
      throw new CacheException(
          "the URI of a cache manager: expected larder:NAME or larder://HOST:PORT, got " + uri);
    }
    if (uri.isOpaque()) {
      return;
    }
    if (uri.getRawAuthority() != null) {
      options.put("target", uri.getRawAuthority());
    }
    String path = uri.getPath();
    if (path != null && path.length() > 1) {
      options.put("prefix", path.substring(1));
    }
    String query = uri.getRawQuery();
    for (String pair : query == null ? new String[0] : query.split("&")) {
      String[] parts = pair.split("=", 2);
      String name = URLDecoder.decode(parts[0], StandardCharsets.UTF_8);
      if (Set.of("secret", "token").contains(name)) {
        throw new CacheException("the URI of a cache manager is no place for a " + name);
      }
      String value = parts.length < 2 ? "true" : parts[1];
      options.put(name, URLDecoder.decode(value, StandardCharsets.UTF_8));
    }
  }

  private static Secret secret(TreeMap<String, String> options) {
    String text = options.get("secret");
    String file = options.get("secret-file");
    byte[] bytes;
    if (text != null) {
      bytes = text.getBytes(StandardCharsets.UTF_8);
    } else if (file != null) {
      try {
        bytes = Files.readString(Path.of(file)).strip().getBytes(StandardCharsets.UTF_8);
      } catch (IOException error) {
        throw new CacheException("the option secret-file cannot be read: " + error, error);
      }
    } else {
      return null;
    }
    if (bytes.length < MIN_SECRET) {
      throw new CacheException("the option secret: expected at least " + MIN_SECRET + " bytes");
    }
    return new Secret(bytes);
  }

  private static OnError onError(String text) {
    return switch (text) {
      case "open" -> OnError.OPEN;
      case "raise" -> OnError.RAISE;
      default -> throw new CacheException("the option on-error: open or raise, got " + text);
    };
  }

  private static boolean bool(TreeMap<String, String> options, String name) {
    String text = options.getOrDefault(name, "false");
    if (!text.equals("true") && !text.equals("false")) {
      throw new CacheException("the option " + name + ": true or false, got " + text);
    }
    return Boolean.parseBoolean(text);
  }

  private Duration duration(String name) {
    String text = options.get(name);
    try {
      return text == null ? null : Duration.ofMillis(Long.parseLong(text));
    } catch (NumberFormatException notMilliseconds) {
      try {
        return Duration.parse(text);
      } catch (DateTimeParseException error) {
        throw new CacheException(
            "the option " + name + ": milliseconds or a duration such as PT1S, got " + text,
            error);
      }
    }
  }

  private Path file(String name) {
    String text = options.get(name);
    return text == null ? null : Path.of(text);
  }

  /** A client with the options of the connection. */
  LarderClient connect() {
    try {
      LarderClient.Builder builder = LarderClient.builder();
      if (options.containsKey("target")) {
        builder.target(options.get("target"));
      }
      if (options.containsKey("preset")) {
        builder.preset(Preset.of(options.get("preset")));
      }
      if (options.containsKey("token")) {
        builder.token(options.get("token"));
      }
      return builder
          .caFile(file("ca-file"))
          .certificate(file("cert-file"), file("key-file"))
          .tls(bool(options, "tls"))
          .serverName(options.get("server-name"))
          .callTimeout(duration("call-timeout"))
          .connectTimeout(duration("connect-timeout"))
          .waitTimeout(duration("wait-timeout"))
          .schemaVersion(options.get("schema-version"))
          .allowPlaintextToken(bool(options, "allow-plaintext-token"))
          .build();
    } catch (IllegalArgumentException error) {
      throw new CacheException("the options of a cache manager: " + error.getMessage(), error);
    }
  }
}
