package dev.larder.client.internal;

import dev.larder.client.Codec;
import dev.larder.client.DecodeException;
import dev.larder.client.EncodeException;
import dev.larder.client.Encoded;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.ObjectStreamClass;
import java.io.Serializable;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.Objects;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Java serialization with a signature: what another sender has written is not deserialized. */
public final class SignedCodec<V extends Serializable> implements Codec<V> {
  private static final String ALGORITHM = "HmacSHA256";
  private static final int SIGNATURE = 32;
  private static final int MIN_SECRET = 16;

  private final SecretKeySpec secret;
  private final Class<V> type;

  /** A codec with the secret of all processes. */
  public SignedCodec(byte[] secret, Class<V> type) {
    if (secret.length < MIN_SECRET) {
      throw new IllegalArgumentException("secret: expected at least " + MIN_SECRET + " bytes");
    }
    this.secret = new SecretKeySpec(secret, ALGORITHM);
    this.type = type;
  }

  private byte[] sign(byte[] bytes) {
    try {
      Mac mac = Mac.getInstance(ALGORITHM);
      mac.init(secret);
      return mac.doFinal(bytes);
    } catch (GeneralSecurityException error) {
      throw new IllegalStateException("every Java has " + ALGORITHM, error);
    }
  }

  @Override
  public Encoded encode(V value) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(value);
    } catch (IOException error) {
      throw new EncodeException("cannot be serialized: " + error, "value");
    }
    byte[] content = bytes.toByteArray();
    byte[] signed = Arrays.copyOf(sign(content), SIGNATURE + content.length);
    System.arraycopy(content, 0, signed, SIGNATURE, content.length);
    return new Encoded.Data(signed);
  }

  @Override
  public V decode(Encoded encoded) {
    if (!(encoded instanceof Encoded.Data data) || data.value().length < SIGNATURE) {
      throw new DecodeException("not a signed value", null);
    }
    byte[] all = data.value();
    byte[] content = Arrays.copyOfRange(all, SIGNATURE, all.length);
    if (!MessageDigest.isEqual(sign(content), Arrays.copyOf(all, SIGNATURE))) {
      throw new DecodeException("the signature is wrong", null);
    }
    try (ObjectInputStream in = new TypedInput(new ByteArrayInputStream(content))) {
      return type.cast(in.readObject());
    } catch (IOException | ClassNotFoundException | ClassCastException error) {
      throw new DecodeException("cannot be deserialized", error);
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SignedCodec<?> codec
        && type.equals(codec.type)
        && secret.equals(codec.secret);
  }

  @Override
  public int hashCode() {
    return Objects.hash(type, secret);
  }

  /** Finds classes with the loader of the type, as in application servers. */
  private final class TypedInput extends ObjectInputStream {
    TypedInput(ByteArrayInputStream in) throws IOException {
      super(in);
    }

    @Override
    protected Class<?> resolveClass(ObjectStreamClass description)
        throws IOException, ClassNotFoundException {
      ClassLoader loader = type.getClassLoader();
      if (loader == null) {
        return super.resolveClass(description);
      }
      try {
        return Class.forName(description.getName(), false, loader);
      } catch (ClassNotFoundException error) {
        return super.resolveClass(description);
      }
    }
  }
}
