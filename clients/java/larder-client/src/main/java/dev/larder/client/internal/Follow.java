package dev.larder.client.internal;

import com.google.protobuf.ByteString;
import dev.larder.client.Change;
import dev.larder.client.Change.Cause;
import dev.larder.client.ListedKey;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import larder.v1.CacheServiceOuterClass.Ready;
import larder.v1.CacheServiceOuterClass.ResetReason;
import larder.v1.CacheServiceOuterClass.WatchRequest;
import larder.v1.CacheServiceOuterClass.WatchResponse;

/** The signals of a namespace, over as many connections as it takes. */
final class Follow {
  private static final double FIRST_BACKOFF_MS = 100;
  private static final double LONGEST_BACKOFF_MS = 3000;

  /** How long the first message may take. */
  private static final double READY_MS = 5000;

  /** Receives signals, one after another. */
  interface Listener {
    /** A signal. {@code next} asks for the next message. */
    void signal(Signal signal, Runnable next);

    /** The end; {@code error} is null if it was cancelled. */
    void end(Throwable error);
  }

  /** Kinds of signals. */
  enum Kind {
    CHANGE,
    /** The stream is alive. */
    ALIVE,
    /** The stream is broken and may be continued. */
    BROKEN
  }

  /**
   * A signal.
   *
   * @param change the change; null unless it is one
   * @param silence milliseconds without a message after which the stream is dead
   */
  record Signal(Kind kind, Change change, double silence) {}

  private static final class Silent extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Silent() {
      super("the stream is silent", null, false, false);
    }
  }

  private final Scope<?> scope;
  private final boolean keys;
  private final Cancellation ending;
  private final Listener listener;
  private volatile ByteString resumeToken = ByteString.EMPTY;
  private volatile double silence = READY_MS;
  private volatile double backoff = FIRST_BACKOFF_MS;

  Follow(Scope<?> scope, boolean keys, Cancellation ending, Listener listener) {
    this.scope = scope;
    this.keys = keys;
    this.ending = ending;
    this.listener = listener;
  }

  /** The next Ready is not a resumed one: changes until now were missed. */
  void forgetPosition() {
    resumeToken = ByteString.EMPTY;
  }

  /** Opens the stream, again and again until the end. */
  void start() {
    if (ending.isCancelled()) {
      listener.end(null);
      return;
    }
    WatchRequest request =
        WatchRequest.newBuilder()
            .addNamespaces(scope.namespace)
            .setKeys(keys)
            .setResumeToken(resumeToken)
            .build();
    Connection connection = new Connection();
    connection.expect(READY_MS);
    Transport.Attempt attempt =
        new Transport.Attempt(Double.POSITIVE_INFINITY, connection.cancellation, Map.of());
    connection.flow.complete(
        scope.core.caller.transport.stream(Rpcs.WATCH, request, attempt, connection));
  }

  /** One connection. */
  private final class Connection implements Transport.Sink<WatchResponse> {
    final Cancellation cancellation = new Cancellation();
    final CompletableFuture<Transport.Flow> flow = new CompletableFuture<>();
    private final Runnable forget =
        ending.onCancel(() -> cancellation.cancel(ending.reason()));
    private volatile ScheduledFuture<?> timer;

    void expect(double ms) {
      timer = scope.core.timer.after(ms, () -> cancellation.cancel(new Silent()));
    }

    private void unexpect() {
      ScheduledFuture<?> running = timer;
      if (running != null) {
        running.cancel(false);
      }
    }

    @Override
    public void message(WatchResponse message) {
      // While the reader is busy the stream is not expected to deliver.
      unexpect();
      Signal signal = read(message);
      if (signal.change() instanceof Change.Ready) {
        backoff = FIRST_BACKOFF_MS;
      }
      listener.signal(
          signal,
          () -> {
            expect(silence);
            flow.thenAccept(Transport.Flow::next);
          });
    }

    @Override
    public void end(Throwable error) {
      unexpect();
      forget.run();
      if (ending.isCancelled()) {
        listener.end(null);
        return;
      }
      if (error != null && !(error instanceof Silent) && !Errors.isOutage(error)) {
        listener.end(error);
        return;
      }
      listener.signal(new Signal(Kind.BROKEN, null, silence), () -> {});
      double delay = backoff * Times.random(0.5, 1);
      backoff = Math.min(LONGEST_BACKOFF_MS, backoff * 2);
      scope.core.timer.sleep(delay, ending).whenComplete((slept, stopped) -> start());
    }
  }

  private Signal read(WatchResponse message) {
    return switch (message.getEventCase()) {
      case READY -> {
        Ready ready = message.getReady();
        resumeToken = ready.getResumeToken();
        double heartbeat =
            ready.hasHeartbeat() ? Times.fromWire(ready.getHeartbeat()) : READY_MS;
        silence = heartbeat + Times.fromWire(ready.getMaxDelay());
        yield change(new Change.Ready(ready.getResumed()));
      }
      case HEARTBEAT -> {
        resumeToken = message.getHeartbeat().getResumeToken();
        yield new Signal(Kind.ALIVE, null, silence);
      }
      case NAMESPACE_INVALIDATED -> change(new Change.NamespaceInvalidated());
      case TAGS_INVALIDATED ->
          change(
              new Change.TagsInvalidated(
                  List.copyOf(message.getTagsInvalidated().getTagsList())));
      case PATTERN_INVALIDATED ->
          change(new Change.PatternInvalidated(message.getPatternInvalidated().getGlob()));
      case KEYS_CHANGED ->
          change(
              new Change.KeysChanged(
                  message.getKeysChanged().getKeysList().stream()
                      .map(key -> new ListedKey(key.getKey(), key.getParamsDigest()))
                      .toList()));
      case RESET -> change(new Change.Reset(cause(message.getReset().getReason())));
      // An event of a later release: it may invalidate anything.
      case EVENT_NOT_SET -> change(new Change.Reset(Cause.UNKNOWN));
    };
  }

  private Signal change(Change change) {
    return new Signal(Kind.CHANGE, change, silence);
  }

  private static Cause cause(ResetReason reason) {
    return switch (reason) {
      case RESET_REASON_FEED_LOST -> Cause.FEED_LOST;
      case RESET_REASON_STORE_UNAVAILABLE -> Cause.STORE_UNAVAILABLE;
      case RESET_REASON_STORE_FLUSHED -> Cause.STORE_FLUSHED;
      case RESET_REASON_SLOW_READER -> Cause.SLOW_READER;
      case RESET_REASON_NOT_RESUMABLE -> Cause.NOT_RESUMABLE;
      case RESET_REASON_SHUTTING_DOWN -> Cause.SHUTTING_DOWN;
      default -> Cause.UNKNOWN;
    };
  }
}
