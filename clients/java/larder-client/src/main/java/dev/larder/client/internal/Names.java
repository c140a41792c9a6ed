package dev.larder.client.internal;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/** Names, keys and params as the server has them: clients/README.md, "Names". */
public final class Names {
  /** Compares text by its UTF-8, which differs from the order by UTF-16 units. */
  public static final Comparator<String> BY_UTF8 =
      (a, b) ->
          Arrays.compareUnsigned(
              a.getBytes(StandardCharsets.UTF_8), b.getBytes(StandardCharsets.UTF_8));

  private static final Pattern PLAIN = Pattern.compile("[a-z0-9][a-z0-9._-]{0,63}");
  private static final int HEAD = 40;
  private static final int DIGEST = 16;
  private static final int MAX_KEY_BYTES = 1024;
  private static final int KEPT_KEY_BYTES = 900;
  private static final int MAX_PARAMS = 64;
  private static final int MAX_PARAM_BYTES = 8 * 1024;

  private Names() {}

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException error) {
      throw new IllegalStateException("every Java has SHA-256", error);
    }
  }

  private static String hex(byte[] bytes) {
    return HexFormat.of().formatHex(sha256().digest(bytes));
  }

  /** Whether text is valid Unicode: it has no surrogate without its other. */
  public static boolean isWellFormed(String text) {
    for (int at = 0; at < text.length(); at++) {
      char unit = text.charAt(at);
      if (!Character.isSurrogate(unit)) {
        continue;
      }
      boolean pair =
          Character.isHighSurrogate(unit)
              && at + 1 < text.length()
              && Character.isLowSurrogate(text.charAt(at + 1));
      if (!pair) {
        return false;
      }
      at++;
    }
    return true;
  }

  private static void check(String text, String argument) {
    if (text == null) {
      throw new IllegalArgumentException(argument + ": must not be null");
    }
    if (text.isEmpty()) {
      throw new IllegalArgumentException(argument + ": must not be empty");
    }
    checkUnicode(text, argument);
  }

  private static void checkUnicode(String text, String argument) {
    if (!isWellFormed(text)) {
      throw new IllegalArgumentException(argument + ": not valid Unicode");
    }
  }

  /** The name of a namespace. */
  public static String namespace(String name) {
    check(name, "namespace");
    if (PLAIN.matcher(name).matches() && !name.startsWith("x--")) {
      return name;
    }
    StringBuilder head = new StringBuilder();
    name.codePoints()
        .limit(HEAD)
        .map(c -> c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c)
        .forEach(c -> head.append(isPlain(c) ? (char) c : '-'));
    String digest = hex(name.getBytes(StandardCharsets.UTF_8)).substring(0, DIGEST);
    return "x--" + head + "-" + digest;
  }

  private static boolean isPlain(int c) {
    return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-';
  }

  /** A key: a long one is cut and ends with its digest. */
  public static String key(String key) {
    check(key, "key");
    // A character takes at most three bytes per UTF-16 unit, so that a short key needs no count.
    if (key.length() * 3 <= MAX_KEY_BYTES) {
      return key;
    }
    byte[] bytes = key.getBytes(StandardCharsets.UTF_8);
    if (bytes.length <= MAX_KEY_BYTES) {
      return key;
    }
    int end = KEPT_KEY_BYTES;
    while ((bytes[end] & 0xc0) == 0x80) {
      end--;
    }
    return new String(bytes, 0, end, StandardCharsets.UTF_8) + "#" + hex(bytes);
  }

  /** Params: more than the server takes become one digest. */
  public static Map<String, String> params(Map<String, String> params) {
    int bytes = 0;
    for (Map.Entry<String, String> param : params.entrySet()) {
      if (param.getKey().isEmpty()) {
        throw new IllegalArgumentException("params: a name must not be empty");
      }
      checkUnicode(param.getKey(), "params." + param.getKey());
      checkUnicode(param.getValue(), "params." + param.getKey());
      bytes += param.getKey().getBytes(StandardCharsets.UTF_8).length;
      bytes += param.getValue().getBytes(StandardCharsets.UTF_8).length;
    }
    if (params.size() > MAX_PARAMS || bytes > MAX_PARAM_BYTES) {
      return Map.of("digest", digest(params));
    }
    return params;
  }

  private static String digest(Map<String, String> params) {
    MessageDigest sha = sha256();
    List<String> names = params.keySet().stream().sorted(BY_UTF8).toList();
    for (String name : names) {
      for (String text : List.of(name, params.get(name))) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        sha.update(ByteBuffer.allocate(Long.BYTES).putLong(bytes.length).array());
        sha.update(bytes);
      }
    }
    return HexFormat.of().formatHex(sha.digest());
  }
}
