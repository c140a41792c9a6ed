package dev.larder.client;

import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.larder.client.internal.AutoCodec;
import dev.larder.client.internal.JsonText;
import dev.larder.client.internal.Names;
import dev.larder.client.internal.SignedCodec;
import java.io.Serializable;
import java.lang.reflect.Type;

/** Codecs of the library. */
public final class Codecs {
  private static final Codec<String> TEXT =
      new Codec<>() {
        @Override
        public Encoded encode(String value) {
          if (value == null) {
            throw new EncodeException("expected text, got null", "value");
          }
          if (!Names.isWellFormed(value)) {
            throw new EncodeException("text that is not valid Unicode", "value");
          }
          return new Encoded.Text(value);
        }

        @Override
        public String decode(Encoded encoded) {
          if (encoded instanceof Encoded.Text text) {
            return text.value();
          }
          throw new DecodeException("expected text, got " + kind(encoded), null);
        }
      };

  private static final Codec<byte[]> BYTES =
      new Codec<>() {
        @Override
        public Encoded encode(byte[] value) {
          if (value == null) {
            throw new EncodeException("expected bytes, got null", "value");
          }
          return new Encoded.Data(value.clone());
        }

        @Override
        public byte[] decode(Encoded encoded) {
          if (encoded instanceof Encoded.Data data) {
            return data.value();
          }
          throw new DecodeException("expected bytes, got " + kind(encoded), null);
        }
      };

  private Codecs() {}

  private static String kind(Encoded encoded) {
    return encoded.getClass().getSimpleName().toLowerCase(java.util.Locale.ROOT);
  }

  /**
   * Text as text, bytes ({@code byte[]}) as bytes, everything else as JSON. The default. JSON of
   * the type Object is read as Map, List, String, Boolean, Double, and Integer, Long or BigInteger.
   */
  public static <V> Codec<V> auto(Class<V> type) {
    return new AutoCodec<>(type, JsonText.MAPPER);
  }

  /** As {@link #auto(Class)}, for a type with type arguments. */
  public static <V> Codec<V> auto(Type type) {
    return new AutoCodec<>(type, JsonText.MAPPER);
  }

  /** As {@link #auto(Class)}, with an ObjectMapper of the program for JSON. */
  public static <V> Codec<V> json(ObjectMapper mapper, JavaType type) {
    return new AutoCodec<>(type, mapper);
  }

  /** Text only. */
  public static Codec<String> text() {
    return TEXT;
  }

  /** Bytes only. */
  public static Codec<byte[]> bytes() {
    return BYTES;
  }

  /**
   * Objects in the format of Java serialization. They are signed, and one with another signature is
   * a miss, so that no object of another sender is made. Other languages cannot read them.
   *
   * @param secret at least 16 bytes, the same in all processes
   * @param type class of the objects
   * @throws IllegalArgumentException if the secret is too short
   */
  public static <V extends Serializable> Codec<V> serialized(byte[] secret, Class<V> type) {
    return new SignedCodec<>(secret, type);
  }
}
