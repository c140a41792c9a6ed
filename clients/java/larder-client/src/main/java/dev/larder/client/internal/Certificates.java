package dev.larder.client.internal;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Arrays;
import java.util.Objects;
import java.util.stream.Collectors;

/** The files of a client that speaks TLS, read again when they change. */
final class Certificates {
  private static final double CHECKED_MS = 10_000;
  private static final String MISSING = "missing";

  private final Path ca;
  private final Path certificate;
  private final Path key;
  private String stamp = "";
  private double checkedAt = Double.NEGATIVE_INFINITY;

  /** Files in PEM. Without authorities those of Java count; null: no file. */
  Certificates(Path ca, Path certificate, Path key) {
    if ((certificate == null) != (key == null)) {
      throw new IllegalArgumentException("certFile, keyFile: both or none");
    }
    this.ca = ca;
    this.certificate = certificate;
    this.key = key;
  }

  /** Reads the files. Called by one thread at a time. */
  ChannelCredentials read() throws IOException {
    String found = stamps();
    checkedAt = Times.now();
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    if (ca != null) {
      tls.trustManager(ca.toFile());
    }
    if (certificate != null) {
      tls.keyManager(certificate.toFile(), key.toFile());
    }
    stamp = found;
    return tls.build();
  }

  /** Whether a file has changed since it was read; looks at most every 10 s. */
  boolean changed() {
    double now = Times.now();
    if (now - checkedAt < CHECKED_MS) {
      return false;
    }
    checkedAt = now;
    String found = stamps();
    // A file that is being replaced is looked at again later.
    return !found.equals(stamp) && !found.contains(MISSING);
  }

  private String stamps() {
    return Arrays.asList(ca, certificate, key).stream()
        .filter(Objects::nonNull)
        .map(Certificates::stampOf)
        .collect(Collectors.joining(" "));
  }

  private static String stampOf(Path file) {
    try {
      BasicFileAttributes facts = Files.readAttributes(file, BasicFileAttributes.class);
      return facts.lastModifiedTime() + "/" + facts.size() + "/" + facts.fileKey();
    } catch (IOException absent) {
      return MISSING;
    }
  }
}
