package dev.larder.client.internal;

import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.larder.client.Codec;
import dev.larder.client.DecodeException;
import dev.larder.client.EncodeException;
import dev.larder.client.Encoded;
import java.io.IOException;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.util.Objects;

/** Text as text, bytes as bytes, everything else as JSON. */
public final class AutoCodec<V> implements Codec<V> {
  private final JavaType type;
  private final ObjectMapper mapper;
  private final boolean any;

  /** A codec for values of a type. */
  public AutoCodec(Type type, ObjectMapper mapper) {
    this(mapper.constructType(type), mapper);
  }

  /** A codec for values of a type. */
  public AutoCodec(JavaType type, ObjectMapper mapper) {
    this.type = type;
    this.mapper = mapper;
    this.any = type.getRawClass() == Object.class;
  }

  @Override
  public Encoded encode(V value) {
    if (value instanceof String text) {
      if (!Names.isWellFormed(text)) {
        throw new EncodeException("text that is not valid Unicode", "value");
      }
      return new Encoded.Text(text);
    }
    if (value instanceof byte[] bytes) {
      return new Encoded.Data(bytes.clone());
    }
    if (value instanceof ByteBuffer buffer) {
      byte[] bytes = new byte[buffer.remaining()];
      buffer.duplicate().get(bytes);
      return new Encoded.Data(bytes);
    }
    return new Encoded.Json(JsonText.write(mapper, value));
  }

  @Override
  @SuppressWarnings("unchecked")
  public V decode(Encoded encoded) {
    try {
      if (encoded instanceof Encoded.Json json) {
        return JsonText.read(mapper, json.value(), type);
      }
      if (encoded instanceof Encoded.Text text) {
        // A counter is text, which a handle of numbers reads as a number.
        boolean plain = any || type.getRawClass().isInstance(text.value());
        return plain ? (V) text.value() : mapper.convertValue(text.value(), type);
      }
      byte[] bytes = ((Encoded.Data) encoded).value();
      if (type.getRawClass() == ByteBuffer.class) {
        return (V) ByteBuffer.wrap(bytes);
      }
      if (any || type.getRawClass() == byte[].class) {
        return (V) bytes;
      }
    } catch (IOException | IllegalArgumentException error) {
      throw new DecodeException("not a value of the type " + type.toCanonical(), error);
    }
    throw new DecodeException("expected " + type.toCanonical() + ", got bytes", null);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof AutoCodec<?> codec
        && type.equals(codec.type)
        && mapper == codec.mapper;
  }

  @Override
  public int hashCode() {
    return Objects.hash(type, System.identityHashCode(mapper));
  }
}
