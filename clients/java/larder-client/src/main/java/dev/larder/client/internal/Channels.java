package dev.larder.client.internal;

import io.grpc.ChannelCredentials;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import java.io.IOException;
import java.util.concurrent.TimeUnit;

/** Makes channels, and lets those that cannot connect try again soon. */
final class Channels {
  private static final int MAX_RECEIVED_BYTES = 16 * 1024 * 1024;
  private static final double FIRST_BACKOFF_MS = 100;
  private static final double LONGEST_BACKOFF_MS = 1800;

  private final GrpcOptions options;
  private final Futures.Timer timer;

  Channels(GrpcOptions options, Futures.Timer timer) {
    this.options = options;
    this.timer = timer;
  }

  /**
   * A channel that has not connected yet.
   *
   * @throws IOException if a file of TLS cannot be read
   */
  ManagedChannel open() throws IOException {
    ChannelCredentials credentials =
        options.certificates() == null
            ? InsecureChannelCredentials.create()
            : options.certificates().read();
    ManagedChannelBuilder<?> builder;
    if (options.target().unix()) {
      builder = Grpc.newChannelBuilder(options.target().uri(), credentials);
    } else {
      // An attempt to connect that is lost must not be waited for.
      builder =
          NettyChannelBuilder.forTarget(options.target().uri(), credentials)
              .withOption(
                  ChannelOption.CONNECT_TIMEOUT_MILLIS,
                  (int) Math.min(Integer.MAX_VALUE, options.connectTimeout()));
    }
    builder
        .defaultLoadBalancingPolicy("round_robin")
        // Retries are made by this library: a method is retried or not by its arguments. Streams
        // that the server has refused are repeated by gRPC.
        .disableServiceConfigLookUp()
        .maxInboundMessageSize(MAX_RECEIVED_BYTES)
        .userAgent("larder-java/" + Version.TEXT)
        .idleTimeout(30, TimeUnit.MINUTES);
    if (options.keepalive() != null) {
      builder
          .keepAliveTime(options.keepalive().longValue(), TimeUnit.MILLISECONDS)
          .keepAliveTimeout((long) options.keepaliveTimeout(), TimeUnit.MILLISECONDS)
          .keepAliveWithoutCalls(false);
    }
    if (options.serverName() != null) {
      builder.overrideAuthority(options.serverName());
    }
    ManagedChannel channel = builder.build();
    follow(channel, ConnectivityState.IDLE);
    return channel;
  }

  /** The backoff of gRPC, which begins with a second and has no setting, is ended early. */
  private void follow(ManagedChannel channel, ConnectivityState state) {
    channel.notifyWhenStateChanged(
        state,
        () -> {
          if (channel.isShutdown()) {
            return;
          }
          ConnectivityState next = channel.getState(false);
          if (next == ConnectivityState.TRANSIENT_FAILURE) {
            retry(channel, FIRST_BACKOFF_MS);
          } else if (next != ConnectivityState.SHUTDOWN) {
            follow(channel, next);
          }
        });
  }

  private void retry(ManagedChannel channel, double backoff) {
    timer.after(
        backoff,
        () -> {
          if (channel.isShutdown()) {
            return;
          }
          ConnectivityState state = channel.getState(false);
          if (state != ConnectivityState.TRANSIENT_FAILURE) {
            follow(channel, state);
            return;
          }
          channel.resetConnectBackoff();
          retry(channel, Math.min(LONGEST_BACKOFF_MS, backoff * 2));
        });
  }
}
