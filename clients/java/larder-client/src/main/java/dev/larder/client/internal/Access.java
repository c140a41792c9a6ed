package dev.larder.client.internal;

import dev.larder.client.LarderClient;
import java.util.function.BiFunction;
import java.util.function.Function;

/** Access of the modules of this library to parts that programs must not use. */
public final class Access {
  private static volatile BiFunction<LarderClient.Builder, Transport, LarderClient> build;
  private static volatile Function<LarderClient, Session> session;

  private Access() {}

  /** Called once by the client. */
  public static void set(
      BiFunction<LarderClient.Builder, Transport, LarderClient> build,
      Function<LarderClient, Session> session) {
    Access.build = build;
    Access.session = session;
  }

  /** A client with a transport in place of gRPC. */
  public static LarderClient client(LarderClient.Builder builder, Transport transport) {
    return build.apply(builder, transport);
  }

  /** The session of a client. */
  public static Session session(LarderClient client) {
    return session.apply(client);
  }
}
