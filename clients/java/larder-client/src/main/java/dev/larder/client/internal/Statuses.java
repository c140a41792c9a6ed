package dev.larder.client.internal;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.IOException;
import java.time.Duration;
import java.util.Map;

/** Errors of gRPC as errors of this library. */
final class Statuses {
  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private Statuses() {}

  static LarderException error(Status status, Metadata trailers) {
    Code code = isBroken(status) ? Code.UNAVAILABLE : Code.valueOf(status.getCode().name());
    String message = status.getDescription();
    if (message == null || message.isEmpty()) {
      Throwable cause = status.getCause();
      message = cause == null ? code.name() : String.valueOf(cause.getMessage());
    }
    return Errors.of(code, message, facts(status, trailers));
  }

  /** Whether a connection has broken: gRPC calls some of its ends UNKNOWN. */
  private static boolean isBroken(Status status) {
    if (status.getCode() != Status.Code.UNKNOWN) {
      return false;
    }
    for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
      if (cause instanceof IOException) {
        return true;
      }
    }
    return false;
  }

  private static ErrorFacts facts(Status status, Metadata trailers) {
    String reason = "";
    Duration retryAfter = null;
    Map<String, String> metadata = Map.of();
    byte[] details = trailers == null ? null : trailers.get(DETAILS);
    if (details != null) {
      try {
        for (Any detail : com.google.rpc.Status.parseFrom(details).getDetailsList()) {
          if (detail.is(ErrorInfo.class)) {
            ErrorInfo info = detail.unpack(ErrorInfo.class);
            reason = info.getReason();
            metadata = Map.copyOf(info.getMetadataMap());
          } else if (detail.is(RetryInfo.class)) {
            retryAfter = Times.toJava(detail.unpack(RetryInfo.class).getRetryDelay());
          }
        }
      } catch (InvalidProtocolBufferException damaged) {
        // Details that a proxy has damaged are left out: the status itself is still right.
        reason = "";
      }
    }
    Long pushback = pushback(trailers);
    return new ErrorFacts(reason, retryAfter, pushback, metadata, status.asException());
  }

  /** A pushback that is no number means that there must be no retry. */
  private static Long pushback(Metadata trailers) {
    String text = trailers == null ? null : trailers.get(PUSHBACK);
    if (text == null) {
      return null;
    }
    try {
      return Long.valueOf(text);
    } catch (NumberFormatException wrong) {
      return -1L;
    }
  }
}
