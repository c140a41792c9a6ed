package dev.larder.client.internal;

import dev.larder.client.CallObserver;
import dev.larder.client.OnError;
import dev.larder.client.Preset;
import dev.larder.client.TokenProvider;
import java.nio.file.Path;
import java.time.Duration;

/** The options that the builder of a client collects. Null: the default. */
public final class Settings implements Cloneable {
  /** Put before the names of all namespaces. */
  public String namespacePrefix = "";

  /** Where the server is. */
  public String target;

  /** Limits that belong together. */
  public Preset preset = Preset.SERVICE;

  /** The behaviour of calls at an outage. */
  public OnError onError = OnError.OPEN;

  /** A token that stays. */
  public String token;

  /** Returns tokens. */
  public TokenProvider tokens;

  /** Whether a token may be sent over plain text to another machine. */
  public boolean allowPlaintextToken;

  /** Authorities of the server's certificate, in PEM. */
  public Path caFile;

  /** Certificate of the client, in PEM. */
  public Path certFile;

  /** Key of the certificate, in PEM. */
  public Path keyFile;

  /** TLS without files. */
  public boolean tls;

  /** Name in the certificate of the server. */
  public String serverName;

  /** Version of what the program caches. */
  public String schemaVersion;

  /** Time limit of a call. */
  public Duration callTimeout;

  /** Time to connect. */
  public Duration connectTimeout;

  /** Time for the computation of another process. */
  public Duration wait;

  /** The time that getOrFetch has in addition to that. */
  public Duration waitMargin;

  /** Time between pings; zero: none. */
  public Duration keepalive;

  /** Time for the answer to a ping. */
  public Duration keepaliveTimeout;

  /** Idle time after which a connection is replaced. */
  public Duration maxIdle;

  /** Computations in the background at once. */
  public int background = 16;

  /** Log of outages. */
  public System.Logger logger = System.getLogger("dev.larder.client");

  /** Observes the calls. */
  public CallObserver observer;

  /** Whether OpenTelemetry is used, if it is in the process and there is no observer. */
  public boolean telemetry = true;

  /** Carries the calls in place of gRPC. */
  public Transport transport;

  /** The settings of now, for a client: its builder may go on to another one. */
  public Settings copy() {
    try {
      return (Settings) clone();
    } catch (CloneNotSupportedException never) {
      throw new IllegalStateException("settings can be cloned", never);
    }
  }
}
