package dev.larder.spring;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.larder.client.Codec;
import dev.larder.client.internal.JsonText;
import java.lang.reflect.Type;

/** Makes the codec for values of a type. Values never name their class. */
@FunctionalInterface
public interface CacheCodecs {
  /**
   * A codec for the type that a method returns, or that the cache is configured with; Object if
   * neither is known.
   */
  Codec<Object> codec(Type type);

  /**
   * The default: text as text, {@code byte[]} as bytes, everything else as JSON, which programs in
   * all languages can read.
   */
  static CacheCodecs json() {
    return json(JsonText.MAPPER);
  }

  /** As {@link #json()}, with an ObjectMapper of the program. */
  static CacheCodecs json(ObjectMapper mapper) {
    return type -> new JsonCodec(mapper, mapper.constructType(type));
  }

  /**
   * Java serialization, signed: what another sender has written is not deserialized.
   *
   * @param secret at least 16 bytes, the same in all processes
   */
  static CacheCodecs serialized(byte[] secret) {
    Codec<Object> codec = new SerializedCodec(secret);
    return type -> codec;
  }
}
