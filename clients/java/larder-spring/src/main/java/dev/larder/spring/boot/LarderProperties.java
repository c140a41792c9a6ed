package dev.larder.spring.boot;

import dev.larder.client.OnError;
import dev.larder.client.Preset;
import java.nio.file.Path;
import java.time.Duration;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;

/**
 * Settings of the client.
 *
 * @param target host:port, dns:///host:port, unix:path, or several addresses separated by commas.
 *     By default LARDER_ENDPOINT, else 127.0.0.1:50051.
 * @param preset Limits that belong together: service, local, low-latency or lambda.
 * @param namespacePrefix Put before the names of all namespaces.
 * @param onError Whether reads and writes go on without the cache at an outage (open), or throw
 *     (raise).
 * @param token Sent as "authorization: Bearer". By default LARDER_TOKEN.
 * @param allowPlaintextToken Send the token over plain text to another machine.
 * @param schemaVersion Version of what the program caches, 1 to 64 of A-Za-z0-9._-.
 * @param background Computations in the background at once.
 * @param telemetry Whether the global OpenTelemetry is used, if it is in the process.
 * @param tls Encryption of connections.
 * @param timeout Time limits, in place of those of the preset.
 * @param connection Connections, in place of the preset.
 */
@ConfigurationProperties("larder")
public record LarderProperties(
    String target,
    @DefaultValue("service") Preset preset,
    @DefaultValue("") String namespacePrefix,
    @DefaultValue("open") OnError onError,
    String token,
    @DefaultValue("false") boolean allowPlaintextToken,
    String schemaVersion,
    @DefaultValue("16") int background,
    @DefaultValue("true") boolean telemetry,
    @DefaultValue Tls tls,
    @DefaultValue Timeout timeout,
    @DefaultValue Connection connection) {

  /** Without the token, as it may be printed. */
  @Override
  public String toString() {
    return "LarderProperties[target=" + target + ", preset=" + preset + "]";
  }

  /**
   * Encryption of connections.
   *
   * @param enabled Use TLS with the authorities of Java, when no file is named.
   * @param caFile Authorities of the server's certificate, in PEM. By default LARDER_CA_FILE.
   * @param certFile Certificate of the client, in PEM. By default LARDER_CERT_FILE.
   * @param keyFile Key of the certificate, in PEM. By default LARDER_KEY_FILE.
   * @param serverName Name in the server's certificate, if it is not that of the target.
   */
  public record Tls(
      @DefaultValue("false") boolean enabled,
      Path caFile,
      Path certFile,
      Path keyFile,
      String serverName) {
    /** Checks that a certificate has its key. */
    public Tls {
      if ((certFile == null) != (keyFile == null)) {
        throw new IllegalArgumentException(
            "larder.tls.cert-file and larder.tls.key-file belong together");
      }
    }
  }

  /**
   * Time limits.
   *
   * @param call Time limit of a call.
   * @param connect What the first call has in addition.
   * @param waiting How long a computation of another process is waited for.
   * @param waitMargin The time that such a call has in addition.
   */
  public record Timeout(
      Duration call, Duration connect, Duration waiting, Duration waitMargin) {}

  /**
   * Connections.
   *
   * @param keepalive Time between pings while calls run; zero for none.
   * @param keepaliveTimeout Time for the answer to a ping.
   * @param maxIdle A connection that was idle for longer is replaced.
   */
  public record Connection(Duration keepalive, Duration keepaliveTimeout, Duration maxIdle) {}
}
