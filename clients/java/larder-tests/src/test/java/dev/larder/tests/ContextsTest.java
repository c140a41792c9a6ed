package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.FetchOptions;
import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.Preset;
import dev.larder.client.Result;
import dev.larder.testing.LarderServer;
import io.grpc.Context;
import java.io.IOException;
import java.time.Duration;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Calls within an RPC that a server of gRPC handles, which ends before they do. */
class ContextsTest {
  private static LarderServer server;
  private static LarderClient client;

  @BeforeAll
  static void start() throws IOException {
    server = LarderServer.start();
    client =
        LarderClient.builder().target(server.target()).preset(Preset.LOCAL).logger(null).build();
  }

  @AfterAll
  static void stop() {
    client.close();
    server.close();
  }

  @Test
  void theEndOfAnRpcLeavesTheFillToIt() throws Exception {
    Namespace<String> names = client.namespace("rpc", String.class);
    Context.CancellableContext rpc = Context.current().withCancellation();
    Result<String> result =
        rpc.call(
            () ->
                names.getOrFetch(
                    "k",
                    load -> {
                      rpc.cancel(null);
                      return "v";
                    }));
    assertTrue(result.stored().orElseThrow().stored());
    assertEquals("v", names.get("k").value());
  }

  @Test
  void theEndOfAnRpcLeavesTheEndOfTheLeaseToIt() {
    Namespace<String> names = client.namespace("rpc", String.class);
    Context.CancellableContext rpc = Context.current().withCancellation();
    assertThrows(
        IOException.class,
        () ->
            rpc.call(
                () ->
                    names.getOrFetch(
                        "failed",
                        load -> {
                          rpc.cancel(null);
                          throw new IOException("no database");
                        })));
    // The lease is given up with a back-off, which the next caller may wait for.
    Result<String> next =
        names.getOrFetch(
            Key.of("failed"),
            load -> "v",
            FetchOptions.DEFAULTS.timeout(Duration.ofSeconds(5)));
    assertTrue(next.stored().orElseThrow().stored());
  }

  @Test
  void aContextThatHasEndedIsNoOutage() throws Exception {
    Namespace<String> names = client.namespace("rpc", String.class);
    Context.CancellableContext rpc = Context.current().withCancellation();
    rpc.cancel(null);
    for (int call = 0; call < 10; call++) {
      assertTrue(rpc.call(() -> !names.get("none").degraded()));
    }
  }
}
