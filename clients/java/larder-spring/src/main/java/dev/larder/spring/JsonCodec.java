package dev.larder.spring;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectWriter;
import dev.larder.client.Codec;
import dev.larder.client.Codecs;
import dev.larder.client.DecodeException;
import dev.larder.client.Encoded;
import dev.larder.client.internal.Names;

/** JSON of a type, with the names of subtypes that its annotations declare. */
final class JsonCodec implements Codec<Object> {
  private final Codec<Object> auto;
  private final ObjectWriter writer;
  private final JavaType type;

  JsonCodec(ObjectMapper mapper, JavaType type) {
    this.auto = Codecs.json(mapper, type);
    this.type = type;
    // Without the type, the subtypes within a list would have no names.
    boolean declares = type.hasContentType() || type.hasGenericTypes() || type.isAbstract();
    this.writer = declares ? mapper.writerFor(type) : null;
  }

  @Override
  public Encoded encode(Object value) {
    boolean typed =
        writer != null
            && type.getRawClass() != Object.class
            && type.getRawClass().isInstance(value)
            && !(value instanceof byte[])
            && !(value instanceof CharSequence);
    if (!typed) {
      return auto.encode(value);
    }
    String text;
    try {
      text = writer.writeValueAsString(value);
    } catch (JsonProcessingException error) {
      // Elements of another type than declared; what cannot be written at all is refused here.
      return auto.encode(value);
    }
    return Names.isWellFormed(text) ? new Encoded.Json(text) : auto.encode(value);
  }

  @Override
  public Object decode(Encoded encoded) {
    boolean number =
        type.getRawClass() == String.class
            && encoded instanceof Encoded.Json json
            && !json.value().startsWith("\"")
            && !json.value().equals("null");
    if (number) {
      throw new DecodeException("expected text, got other JSON", null);
    }
    return auto.decode(encoded);
  }
}
