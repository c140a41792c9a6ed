package dev.larder.client;

/**
 * Turns values into what is sent, and back. Implementations are used by several threads.
 *
 * <p>Calls of several handles join only if their codecs are equal. A codec that is made for each
 * handle has {@code equals} and {@code hashCode}, as those of {@link Codecs} do.
 */
public interface Codec<V> {
  /**
   * The form of a value that is sent.
   *
   * @throws EncodeException if the value cannot be sent
   */
  Encoded encode(V value);

  /**
   * The value of what was sent.
   *
   * @throws RuntimeException if it cannot be read: the read is then a miss
   */
  V decode(Encoded encoded);
}
