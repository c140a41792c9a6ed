package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;

import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.UnavailableException;
import io.grpc.Metadata;
import io.grpc.Status;
import java.nio.channels.ClosedChannelException;
import org.junit.jupiter.api.Test;

/** Errors of gRPC. */
class StatusesTest {
  @Test
  void aConnectionThatEndsBeforeItIsUsedIsAnOutage() {
    Status closed =
        Status.UNKNOWN.withDescription("channel closed").withCause(new ClosedChannelException());
    LarderException error = Statuses.error(closed, new Metadata());
    assertInstanceOf(UnavailableException.class, error);
    assertEquals(Code.UNAVAILABLE, error.code());
    assertEquals(Code.UNKNOWN, Statuses.error(Status.UNKNOWN, new Metadata()).code());
  }

  @Test
  void aPushbackThatIsNoNumberForbidsRetries() {
    Metadata trailers = new Metadata();
    trailers.put(
        Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER), "soon");
    assertEquals(-1L, Statuses.error(Status.UNAVAILABLE, trailers).pushback());
  }
}
