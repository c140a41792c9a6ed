package dev.larder.spring;

import dev.larder.client.Codec;
import dev.larder.client.Codecs;
import dev.larder.client.EncodeException;
import dev.larder.client.Encoded;
import java.io.Serializable;

/** Java serialization with a signature, for values of any class. */
final class SerializedCodec implements Codec<Object> {
  private final Codec<Serializable> signed;

  SerializedCodec(byte[] secret) {
    signed = Codecs.serialized(secret, Serializable.class);
  }

  @Override
  public Encoded encode(Object value) {
    if (value != null && !(value instanceof Serializable)) {
      throw new EncodeException(value.getClass().getName() + " is not Serializable", "value");
    }
    return signed.encode((Serializable) value);
  }

  @Override
  public Object decode(Encoded encoded) {
    return signed.decode(encoded);
  }
}
