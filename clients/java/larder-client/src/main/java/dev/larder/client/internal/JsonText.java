package dev.larder.client.internal;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamWriteConstraints;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import com.fasterxml.jackson.datatype.jsr310.JavaTimeModule;
import dev.larder.client.EncodeException;
import java.io.IOException;
import java.nio.ByteBuffer;

/** JSON of values, for values that JSON represents completely. */
public final class JsonText {
  /** The server refuses JSON with more arrays and objects within each other. */
  private static final int MAX_DEPTH = 128;

  /** Longer than the limit of the server for values, which decides. */
  private static final int MAX_TEXT = 512 * 1024 * 1024;

  /** The mapper of all codecs that have none of their own. */
  public static final ObjectMapper MAPPER = mapper();

  private JsonText() {}

  private static ObjectMapper mapper() {
    JsonFactory factory =
        JsonFactory.builder()
            .streamWriteConstraints(
                StreamWriteConstraints.builder().maxNestingDepth(MAX_DEPTH).build())
            .streamReadConstraints(
                StreamReadConstraints.builder()
                    .maxNestingDepth(MAX_DEPTH)
                    .maxStringLength(MAX_TEXT)
                    .build())
            .build();
    SimpleModule refusals = new SimpleModule("larder");
    refusals.addSerializer(Double.class, new Finite<>(Double.class));
    refusals.addSerializer(Double.TYPE, new Finite<>(Double.TYPE));
    refusals.addSerializer(Float.class, new Finite<>(Float.class));
    refusals.addSerializer(Float.TYPE, new Finite<>(Float.TYPE));
    refusals.addSerializer(double[].class, new FiniteArrays.OfDouble());
    refusals.addSerializer(float[].class, new FiniteArrays.OfFloat());
    refusals.addSerializer(byte[].class, new NoBytes<>(byte[].class));
    refusals.addSerializer(ByteBuffer.class, new NoBytes<>(ByteBuffer.class));
    return JsonMapper.builder(factory)
        .addModule(new JavaTimeModule())
        .addModule(refusals)
        .disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS)
        .disable(SerializationFeature.FAIL_ON_EMPTY_BEANS)
        // During a release, two versions of a type read each other's values.
        .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
        .build();
  }

  /** Writes a value without white space. */
  public static String write(ObjectMapper mapper, Object value) {
    String text;
    try {
      text = mapper.writeValueAsString(value);
    } catch (JsonMappingException error) {
      throw refused(error.getOriginalMessage(), place(error), error);
    } catch (IOException error) {
      throw refused(error.getMessage(), "value", error);
    } catch (StackOverflowError error) {
      throw refused("more than " + MAX_DEPTH + " levels, or a cycle", "value", error);
    }
    if (!Names.isWellFormed(text)) {
      throw new EncodeException("text that is not valid Unicode", "value");
    }
    return text;
  }

  private static EncodeException refused(String why, String place, Throwable cause) {
    EncodeException refused = new EncodeException(why, place);
    refused.initCause(cause);
    return refused;
  }

  private static String place(JsonMappingException error) {
    StringBuilder place = new StringBuilder("value");
    for (JsonMappingException.Reference step : error.getPath()) {
      if (step.getFieldName() != null) {
        place.append('.').append(step.getFieldName());
      } else {
        place.append('[').append(step.getIndex()).append(']');
      }
    }
    return place.toString();
  }

  /** Reads a value. */
  static <V> V read(ObjectMapper mapper, String text, JavaType type) throws IOException {
    return mapper.readValue(text, type);
  }

  static JsonMappingException notFinite(JsonGenerator out, Number value) {
    return JsonMappingException.from(out, value + " is not a number of JSON");
  }

  private static final class Finite<N extends Number> extends StdSerializer<N> {
    Finite(Class<N> type) {
      super(type);
    }

    @Override
    public void serialize(N value, JsonGenerator out, SerializerProvider provider)
        throws IOException {
      if (!Double.isFinite(value.doubleValue())) {
        throw notFinite(out, value);
      }
      if (value instanceof Float) {
        out.writeNumber(value.floatValue());
      } else {
        out.writeNumber(value.doubleValue());
      }
    }
  }

  private static final class NoBytes<T> extends StdSerializer<T> {
    NoBytes(Class<T> type) {
      super(type);
    }

    @Override
    public void serialize(T value, JsonGenerator out, SerializerProvider provider)
        throws IOException {
      throw JsonMappingException.from(
          out, "bytes within another value: encode them as text, or use a codec");
    }
  }
}
