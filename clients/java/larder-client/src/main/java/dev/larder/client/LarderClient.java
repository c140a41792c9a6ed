package dev.larder.client;

import dev.larder.client.internal.Access;
import dev.larder.client.internal.Call;
import dev.larder.client.internal.Session;
import dev.larder.client.internal.Settings;
import dev.larder.client.internal.Views;
import java.lang.reflect.Type;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;

/**
 * A client of Larder. A process has one. It connects at the first call. All methods can be called
 * by several threads, also virtual ones.
 */
public final class LarderClient implements AutoCloseable {
  static {
    Access.set(
        (builder, transport) -> {
          Settings settings = builder.settings.copy();
          settings.transport = transport;
          return new LarderClient(settings);
        },
        client -> client.session);
  }

  private final Session session;

  private LarderClient(Settings settings) {
    session = new Session(settings);
  }

  /** A builder with the defaults. */
  public static Builder builder() {
    return new Builder();
  }

  /** A client for the server that {@code LARDER_ENDPOINT} names. */
  public static LarderClient create() {
    return builder().build();
  }

  /**
   * A handle for a namespace with values of a type. A name that the server does not take as it is
   * gets an encoded one.
   *
   * @throws IllegalArgumentException if the name is empty
   */
  public <V> Namespace<V> namespace(String name, Class<V> type) {
    return namespace(name, Codecs.auto(type), NamespaceOptions.DEFAULTS);
  }

  /** As {@link #namespace(String, Class)}, with defaults of the handle. */
  public <V> Namespace<V> namespace(String name, Class<V> type, NamespaceOptions options) {
    return namespace(name, Codecs.auto(type), options);
  }

  /** As {@link #namespace(String, Class)}, for a type with type arguments. */
  public <V> Namespace<V> namespace(String name, TypeOf<V> type, NamespaceOptions options) {
    Type whole = type.type();
    return namespace(name, Codecs.<V>auto(whole), options);
  }

  /** As {@link #namespace(String, Class)}, with a codec of the program. */
  public <V> Namespace<V> namespace(String name, Codec<V> codec, NamespaceOptions options) {
    Objects.requireNonNull(codec, "codec: must not be null");
    return new Namespace<>(name, session.operations(name, codec, options));
  }

  private <R> R await(java.util.function.Function<Call, CompletableFuture<R>> operation) {
    return Views.await(session.call(), operation);
  }

  /**
   * Invalidates what the rules of the server select for an event, in all namespaces.
   *
   * @throws UnavailableException if the store did not apply all of it
   */
  public Published publishEvent(String name, Map<String, String> attributes) {
    return await(call -> session.publish(call, name, attributes));
  }

  /** Statistics of these namespaces; of all, if there are none in the list. */
  public Stats stats(Collection<String> namespaces) {
    return await(call -> session.stats(call, namespaces));
  }

  /**
   * Connects now rather than at the first call.
   *
   * @throws UnavailableException if that takes longer than the time limit of the client
   */
  public void connect() {
    await(call -> session.connect(null));
  }

  /** As {@link #connect()}, with a time limit. */
  public void connect(Duration timeout) {
    await(call -> session.connect(timeout));
  }

  /** Events by namespace and name since the client was made, such as {@code hits}. */
  public Map<String, Map<String, Long>> counters() {
    return session.counters();
  }

  /** Cancels computations and ends the connections. Calls after that throw. Can be repeated. */
  @Override
  public void close() {
    session.close();
  }

  /** Collects the options of a client. All are optional. */
  public static final class Builder {
    private final Settings settings = new Settings();

    private Builder() {}

    /**
     * {@code host:port}, {@code dns:///host:port}, {@code unix:path}, or several addresses
     * separated by commas. {@code LARDER_ENDPOINT}, else {@code 127.0.0.1:50051}. The certificate
     * of each of several addresses has the name of the first, or {@link #serverName}.
     */
    public Builder target(String target) {
      settings.target = target;
      return this;
    }

    /** Limits that belong together: {@link Preset#SERVICE}. */
    public Builder preset(Preset preset) {
      settings.preset = Objects.requireNonNull(preset, "preset: must not be null");
      return this;
    }

    /** Put before the names of all namespaces. */
    public Builder namespacePrefix(String prefix) {
      settings.namespacePrefix = Objects.requireNonNull(prefix, "namespacePrefix: is null");
      return this;
    }

    /** The behaviour of calls at an outage: {@link OnError#OPEN}. */
    public Builder onError(OnError onError) {
      settings.onError = Objects.requireNonNull(onError, "onError: must not be null");
      return this;
    }

    /** Sent as {@code authorization: Bearer}. {@code LARDER_TOKEN}. */
    public Builder token(String token) {
      settings.token = token;
      settings.tokens = null;
      return this;
    }

    /** Tokens that are sent as {@code authorization: Bearer}. */
    public Builder tokenProvider(TokenProvider tokens) {
      settings.tokens = tokens;
      settings.token = null;
      return this;
    }

    /** Send the token over plain text to another machine. */
    public Builder allowPlaintextToken(boolean allow) {
      settings.allowPlaintextToken = allow;
      return this;
    }

    /** Authorities of the server's certificate, in PEM. Switches TLS on. {@code LARDER_CA_FILE}. */
    public Builder caFile(Path file) {
      settings.caFile = file;
      return this;
    }

    /**
     * Certificate of the client and its key, in PEM. Switches TLS on. {@code LARDER_CERT_FILE},
     * {@code LARDER_KEY_FILE}. They are read again when they change.
     */
    public Builder certificate(Path certFile, Path keyFile) {
      settings.certFile = certFile;
      settings.keyFile = keyFile;
      return this;
    }

    /** Speak TLS with the authorities of Java, when no file is named. */
    public Builder tls(boolean tls) {
      settings.tls = tls;
      return this;
    }

    /** Name in the server's certificate, if it is not that of the target. */
    public Builder serverName(String serverName) {
      settings.serverName = serverName;
      return this;
    }

    /** Version of what the program caches, 1 to 64 of {@code A-Za-z0-9._-}. */
    public Builder schemaVersion(String schemaVersion) {
      settings.schemaVersion = schemaVersion;
      return this;
    }

    /** Time limit of a call. */
    public Builder callTimeout(Duration timeout) {
      settings.callTimeout = timeout;
      return this;
    }

    /** Time limit of {@code connect}, and what the first call has in addition. */
    public Builder connectTimeout(Duration timeout) {
      settings.connectTimeout = timeout;
      return this;
    }

    /** How long {@code getOrFetch} waits for the computation of another process: 5 s. */
    public Builder waitTimeout(Duration timeout) {
      settings.wait = timeout;
      return this;
    }

    /** The time that {@code getOrFetch} has in addition to its wait. */
    public Builder waitMargin(Duration margin) {
      settings.waitMargin = margin;
      return this;
    }

    /** Time between pings while calls run, at least 10 s; zero: none. */
    public Builder keepalive(Duration keepalive) {
      settings.keepalive = keepalive;
      return this;
    }

    /** Time for the answer to a ping: 10 s. */
    public Builder keepaliveTimeout(Duration timeout) {
      settings.keepaliveTimeout = timeout;
      return this;
    }

    /** A connection that was idle for longer is replaced. */
    public Builder maxIdle(Duration maxIdle) {
      settings.maxIdle = maxIdle;
      return this;
    }

    /** Computations in the background at once: 16. */
    public Builder background(int computations) {
      settings.background = computations;
      return this;
    }

    /** Receives the begin and the end of outages; null: nothing does. */
    public Builder logger(System.Logger logger) {
      settings.logger = logger;
      return this;
    }

    /** Observes calls, in place of the global OpenTelemetry. */
    public Builder observer(CallObserver observer) {
      settings.observer = observer;
      return this;
    }

    /** Whether the global OpenTelemetry is used, if it is in the process: true. */
    public Builder telemetry(boolean telemetry) {
      settings.telemetry = telemetry;
      return this;
    }

    /**
     * The client. It does not connect yet.
     *
     * @throws IllegalArgumentException if an option is wrong, or if a token would be sent over
     *     plain text to another machine
     */
    public LarderClient build() {
      return new LarderClient(settings.copy());
    }
  }
}
