package dev.larder.client.internal;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import dev.larder.client.DecodeException;
import dev.larder.client.Encoded;
import larder.v1.CacheServiceOuterClass.Value;

/** Values in messages. */
public final class Values {
  private Values() {}

  /** The message of a value. */
  public static Value toWire(Encoded encoded) {
    Value.Builder value = Value.newBuilder();
    if (encoded instanceof Encoded.Text text) {
      value.setText(text.value());
    } else if (encoded instanceof Encoded.Json json) {
      value.setJson(json.value());
    } else {
      value.setData(UnsafeByteOperations.unsafeWrap(((Encoded.Data) encoded).value()));
    }
    return value.build();
  }

  /** The value of a message. */
  public static Encoded fromWire(Value value) {
    return switch (value.getKindCase()) {
      case TEXT -> new Encoded.Text(value.getText());
      case JSON -> new Encoded.Json(value.getJson());
      case DATA -> new Encoded.Data(value.getData().toByteArray());
      case KIND_NOT_SET -> throw new DecodeException("a value of a kind of a later release", null);
    };
  }

  /** Bytes that a value takes. */
  public static int size(Value value) {
    return switch (value.getKindCase()) {
      case TEXT -> value.getTextBytes().size();
      case JSON -> value.getJsonBytes().size();
      case DATA -> value.getData().size();
      case KIND_NOT_SET -> 0;
    };
  }

  /** At most so many bytes of text, cut between two characters. */
  static String cut(String text, int maxBytes) {
    ByteString bytes = ByteString.copyFromUtf8(text);
    if (bytes.size() <= maxBytes) {
      return text;
    }
    int end = maxBytes;
    while ((bytes.byteAt(end) & 0xc0) == 0x80) {
      end--;
    }
    return bytes.substring(0, end).toStringUtf8();
  }
}
