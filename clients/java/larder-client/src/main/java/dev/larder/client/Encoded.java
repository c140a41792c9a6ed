package dev.larder.client;

import java.nio.charset.StandardCharsets;

/** A value as it is sent. */
public sealed interface Encoded {
  /** Bytes that it takes on the way. */
  int size();

  /** Text. */
  record Text(String value) implements Encoded {
    @Override
    public int size() {
      return value.getBytes(StandardCharsets.UTF_8).length;
    }
  }

  /** Bytes, which are not copied. */
  record Data(byte[] value) implements Encoded {
    @Override
    public int size() {
      return value.length;
    }
  }

  /** One JSON document. */
  record Json(String value) implements Encoded {
    @Override
    public int size() {
      return value.getBytes(StandardCharsets.UTF_8).length;
    }
  }
}
