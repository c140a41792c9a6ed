package dev.larder.client.grpc;

import dev.larder.client.LarderClient;
import dev.larder.client.internal.Access;
import dev.larder.client.internal.Rpcs;
import io.grpc.Channel;

/**
 * The connections of a client, for calls that it has no methods for. This is the only place where
 * types of gRPC are part of the interface.
 */
public final class LarderChannels {
  /** Name of the service, whose messages are in the package {@code larder.v1}. */
  public static final String SERVICE = Rpcs.SERVICE;

  private LarderChannels() {}

  /**
   * The channel of now. It is replaced when its connection dies, so it must not be kept.
   *
   * @throws IllegalStateException for a client of a fake
   */
  public static Channel of(LarderClient client) {
    return Access.session(client).channel();
  }
}
