package dev.larder.jcache;

import dev.larder.client.Codec;
import dev.larder.client.DecodeException;
import dev.larder.client.Encoded;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Entries as one value: a byte for the form, a signature if there is a secret, the length of the
 * key, the key, and the value. The signature covers the name of the cache, so that an entry of one
 * cache is none of another.
 */
final class StoredCodec implements Codec<Stored> {
  private static final byte PLAIN = 1;
  private static final byte SIGNED = 2;
  private static final String ALGORITHM = "HmacSHA256";
  private static final int SIGNATURE = 32;

  private final String cache;
  private final SecretKeySpec secret;

  /** A codec for a cache; {@code secret} null: entries are not signed. */
  StoredCodec(String cache, byte[] secret) {
    this.cache = cache;
    this.secret = secret == null ? null : new SecretKeySpec(secret, ALGORITHM);
  }

  private byte[] sign(ByteBuffer content) {
    try {
      Mac mac = Mac.getInstance(ALGORITHM);
      mac.init(secret);
      byte[] name = cache.getBytes(StandardCharsets.UTF_8);
      mac.update(ByteBuffer.allocate(Integer.BYTES).putInt(name.length).array());
      mac.update(name);
      mac.update(content);
      return mac.doFinal();
    } catch (GeneralSecurityException error) {
      throw new IllegalStateException("every Java has " + ALGORITHM, error);
    }
  }

  @Override
  public Encoded encode(Stored stored) {
    int head = secret == null ? 1 : 1 + SIGNATURE;
    int size = head + Integer.BYTES + stored.key().length + stored.value().length;
    ByteBuffer all = ByteBuffer.allocate(size);
    all.put(secret == null ? PLAIN : SIGNED).position(head);
    all.putInt(stored.key().length).put(stored.key()).put(stored.value());
    if (secret != null) {
      all.put(1, sign(all.duplicate().position(head)));
    }
    return new Encoded.Data(all.array());
  }

  @Override
  public Stored decode(Encoded encoded) {
    if (!(encoded instanceof Encoded.Data data) || data.value().length == 0) {
      throw new DecodeException("not an entry of a JCache", null);
    }
    ByteBuffer all = ByteBuffer.wrap(data.value());
    try {
      byte form = all.get();
      if (form != (secret == null ? PLAIN : SIGNED)) {
        throw new DecodeException("an entry of a JCache with another secret, or none", null);
      }
      if (secret != null) {
        byte[] signature = new byte[SIGNATURE];
        all.get(signature);
        if (!MessageDigest.isEqual(signature, sign(all.duplicate()))) {
          throw new DecodeException("the signature is wrong", null);
        }
      }
      int length = all.getInt();
      if (length < 1 || length > all.remaining()) {
        throw new DecodeException("the length of the key is wrong", null);
      }
      byte[] key = new byte[length];
      all.get(key);
      byte[] value = new byte[all.remaining()];
      all.get(value);
      return new Stored(key, value);
    } catch (BufferUnderflowException error) {
      throw new DecodeException("an entry that is cut off", error);
    }
  }
}
