package dev.larder.client.internal;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.jsontype.TypeSerializer;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import java.io.IOException;

/** Writes arrays of fractions, which Jackson writes without a look at their members. */
abstract class FiniteArrays<A> extends StdSerializer<A> {
  private FiniteArrays(Class<A> type) {
    super(type);
  }

  abstract int length(A array);

  abstract void write(A array, int index, JsonGenerator out) throws IOException;

  private void writeAll(A array, JsonGenerator out) throws IOException {
    for (int index = 0; index < length(array); index++) {
      write(array, index, out);
    }
  }

  static void check(Number member, Object array, int index, JsonGenerator out)
      throws JsonMappingException {
    if (!Double.isFinite(member.doubleValue())) {
      throw JsonMappingException.wrapWithPath(JsonText.notFinite(out, member), array, index);
    }
  }

  @Override
  public boolean isEmpty(SerializerProvider provider, A array) {
    return length(array) == 0;
  }

  @Override
  public void serialize(A array, JsonGenerator out, SerializerProvider provider)
      throws IOException {
    out.writeStartArray(array, length(array));
    writeAll(array, out);
    out.writeEndArray();
  }

  @Override
  public void serializeWithType(
      A array, JsonGenerator out, SerializerProvider provider, TypeSerializer types)
      throws IOException {
    var type = types.writeTypePrefix(out, types.typeId(array, JsonToken.START_ARRAY));
    writeAll(array, out);
    types.writeTypeSuffix(out, type);
  }

  /** Arrays of double. */
  static final class OfDouble extends FiniteArrays<double[]> {
    OfDouble() {
      super(double[].class);
    }

    @Override
    int length(double[] array) {
      return array.length;
    }

    @Override
    void write(double[] array, int index, JsonGenerator out) throws IOException {
      check(array[index], array, index, out);
      out.writeNumber(array[index]);
    }
  }

  /** Arrays of float. */
  static final class OfFloat extends FiniteArrays<float[]> {
    OfFloat() {
      super(float[].class);
    }

    @Override
    int length(float[] array) {
      return array.length;
    }

    @Override
    void write(float[] array, int index, JsonGenerator out) throws IOException {
      check(array[index], array, index, out);
      out.writeNumber(array[index]);
    }
  }
}
