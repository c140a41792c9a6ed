package dev.larder.client.internal;

import dev.larder.client.CallObserver;
import dev.larder.client.Codec;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.OnError;
import dev.larder.client.Published;
import dev.larder.client.Stats;
import io.grpc.Channel;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;

/** A client: its connections, and what all its handles share. */
public final class Session {
  private static final Duration DEFAULT_WAIT = Duration.ofSeconds(5);
  private static final Duration KEEPALIVE_TIMEOUT = Duration.ofSeconds(10);
  private static final Pattern SCHEMA_VERSION = Pattern.compile("[A-Za-z0-9._-]{1,64}");

  /** Clients of a process at which a leak is likely: one per process is enough. */
  private static final int MANY_CLIENTS = 10;

  /** How long close waits for the calls that give leases up. */
  private static final long PARTING_MS = 1000;

  private static final AtomicInteger LIVE = new AtomicInteger();

  private final Settings settings;
  private final Core core;
  private final ExecutorService workers;
  private final AtomicBoolean closed = new AtomicBoolean();

  /** Checks the settings. Does not connect. */
  public Session(Settings settings) {
    this.settings = settings;
    checkSchemaVersion();
    Limits limits = limits();
    workers = Workers.start();
    Futures.Timer timer = new Futures.Timer(workers);
    Counters counters = new Counters();
    try {
      Transport transport =
          settings.transport != null
              ? settings.transport
              : new GrpcTransport(grpcOptions(limits), timer);
      CallObserver given =
          settings.observer == null && settings.telemetry
              ? Telemetry.find()
              : settings.observer;
      CallObserver observer =
          given == null ? null : new GuardedObserver(given, settings.logger);
      transport.schemaVersion(settings.schemaVersion);
      if (observer != null) {
        observer.counters(counters::snapshot);
      }
      Caller caller = new Caller(transport, settings.logger, observer, timer);
      core = new Core(caller, counters, limits, timer, workers, settings.logger);
    } catch (RuntimeException error) {
      timer.close();
      workers.shutdownNow();
      throw error;
    }
    if (LIVE.incrementAndGet() == MANY_CLIENTS) {
      core.warn(
          MANY_CLIENTS
              + " clients are open: one per process is enough, and each keeps connections until"
              + " close()");
    }
  }

  private void checkSchemaVersion() {
    String version = settings.schemaVersion;
    if (version != null && !SCHEMA_VERSION.matcher(version).matches()) {
      throw new IllegalArgumentException("schemaVersion: expected 1 to 64 of A-Za-z0-9._-");
    }
  }

  private static Duration or(Duration given, Duration other) {
    return given == null ? other : given;
  }

  private Limits limits() {
    if (settings.background < 0) {
      throw new IllegalArgumentException("background: must not be negative");
    }
    return new Limits(
        Times.positive(or(settings.callTimeout, settings.preset.callTimeout()), "callTimeout"),
        Times.positive(
            or(settings.connectTimeout, settings.preset.connectTimeout()), "connectTimeout"),
        Times.span(or(settings.wait, DEFAULT_WAIT), "wait"),
        Times.positive(or(settings.waitMargin, settings.preset.waitMargin()), "waitMargin"),
        settings.background);
  }

  private static String variable(String name) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? null : value;
  }

  private static Path file(Path given, String name) {
    String value = variable(name);
    return given != null || value == null ? given : Path.of(value);
  }

  private GrpcOptions grpcOptions(Limits limits) {
    String address = settings.target != null ? settings.target : variable("LARDER_ENDPOINT");
    Target target = Target.parse(address == null ? "127.0.0.1:50051" : address);
    Path ca = file(settings.caFile, "LARDER_CA_FILE");
    Path certificate = file(settings.certFile, "LARDER_CERT_FILE");
    Path key = file(settings.keyFile, "LARDER_KEY_FILE");
    boolean tls = settings.tls || ca != null || certificate != null || key != null;
    String token =
        settings.token == null && settings.tokens == null
            ? variable("LARDER_TOKEN")
            : settings.token;
    boolean authorized = token != null || settings.tokens != null;
    if (authorized && !tls && !target.loopback() && !settings.allowPlaintextToken) {
      throw new IllegalArgumentException(
          "token: not sent over plain text to "
              + address
              + ": use TLS, or set allowPlaintextToken");
    }
    Authorization authorization = null;
    if (settings.tokens != null) {
      authorization = new Authorization(settings.tokens, workers);
    } else if (token != null) {
      authorization = new Authorization(token);
    }
    Duration keepalive = or(settings.keepalive, settings.preset.keepalive());
    Duration maxIdle = or(settings.maxIdle, settings.preset.maxIdle());
    boolean pings = keepalive != null && !keepalive.isZero();
    return new GrpcOptions(
        target,
        authorization,
        tls ? new Certificates(ca, certificate, key) : null,
        settings.schemaVersion,
        pings ? Times.positive(keepalive, "keepalive") : null,
        Times.positive(or(settings.keepaliveTimeout, KEEPALIVE_TIMEOUT), "keepaliveTimeout"),
        maxIdle == null ? null : Times.positive(maxIdle, "maxIdle"),
        limits.connect(),
        settings.serverName);
  }

  /** The calls of a handle. */
  public <V> Operations<V> operations(String name, Codec<V> codec, NamespaceOptions options) {
    if (name == null || name.isEmpty()) {
      throw new IllegalArgumentException("namespace: must not be empty");
    }
    String namespace = Names.namespace(settings.namespacePrefix + name);
    OnError onError = options.onError() == null ? settings.onError : options.onError();
    Double ttl = options.ttl() == null ? null : Times.ms(options.ttl());
    boolean raise = onError == OnError.RAISE;
    List<String> tags = options.tags();
    Names.checkTags(tags, "tags");
    Names.checkTagCount(tags);
    NearCache<V> near = null;
    if (options.nearCache() != null) {
      Scope<V> plain = new Scope<>(core, namespace, codec, ttl, tags, raise, null);
      near = core.feeds.open(plain, options.nearCache());
    }
    return new Operations<>(new Scope<>(core, namespace, codec, ttl, tags, raise, near));
  }

  private CallSpec spec(Call call, Duration timeout, double least) {
    double ms = timeout == null ? core.limits.call() : Times.positive(timeout, "timeout");
    return new CallSpec(
        call, Math.max(ms, least), "", core.counters.of(""), true, false, false);
  }

  /** A call for the asynchronous methods of the client. */
  public Call call() {
    return new Call(new Cancellation(), core.caller.parent(), Runnable::run, null);
  }

  /** Invalidates what the rules of the server select for an event. */
  public CompletableFuture<Published> publish(
      Call call, String name, Map<String, String> attributes) {
    CallSpec spec = spec(call, null, 0);
    return Feeds.removingAll(
        core, () -> Invalidations.publish(core, spec, name, attributes));
  }

  /** Statistics of these namespaces, or of all. */
  public CompletableFuture<Stats> stats(Call call, Collection<String> namespaces) {
    List<String> names =
        namespaces.stream()
            .map(name -> Names.namespace(settings.namespacePrefix + name))
            .toList();
    return Listing.stats(core, spec(call, null, Listing.LIST_TIMEOUT_MS), names);
  }

  /** Connects now rather than at the first call. */
  public CompletableFuture<Void> connect(Duration timeout) {
    core.caller.checkOpen();
    double ms = timeout == null ? core.limits.connect() : Times.positive(timeout, "timeout");
    return core.caller.transport.connect(ms);
  }

  /** The channel of now. */
  public Channel channel() {
    core.caller.checkOpen();
    if (core.caller.transport instanceof GrpcTransport grpc) {
      return grpc.channel();
    }
    throw new IllegalStateException("this client has no channel: it is one of a fake");
  }

  /** Events by namespace since the client was made. */
  public Map<String, Map<String, Long>> counters() {
    return core.counters.snapshot();
  }

  /** Cancels computations and ends the connections. */
  public void close() {
    if (!closed.compareAndSet(false, true)) {
      return;
    }
    LIVE.decrementAndGet();
    core.caller.closing();
    try {
      part();
    } finally {
      try {
        core.caller.close();
      } finally {
        core.timer.close();
        workers.shutdownNow();
      }
    }
  }

  /** Cancels what runs, and waits until its leases are given up, for other processes. */
  private void part() {
    Throwable reason = Errors.closed();
    core.running.close(reason);
    core.background.cancel(reason);
    CompletableFuture<Void> parted =
        core.flights.close(reason).thenCompose(ignored -> core.background.parted());
    try {
      parted.get(PARTING_MS, TimeUnit.MILLISECONDS);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    } catch (ExecutionException | TimeoutException late) {
      core.warn("leases are not given up within " + PARTING_MS + " ms: they end by themselves");
    }
  }
}
