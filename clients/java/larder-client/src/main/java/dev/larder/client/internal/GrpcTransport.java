package dev.larder.client.internal;

import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException.Code;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;

/** Calls over gRPC. Connects at the first call. */
final class GrpcTransport implements Transport {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final Metadata.Key<String> SCHEMA_VERSION =
      Metadata.Key.of("larder-schema-version", Metadata.ASCII_STRING_MARSHALLER);

  /** After so many calls in a row without an answer in time a connection counts as dead. */
  private static final int DEAD_AFTER = 5;

  /** Calls on a connection that was replaced have this long to end. */
  private static final double DRAINED_MS = 60_000;

  private static final int MAX_DRAINED = 8;
  private static final double NANOS_PER_MS = 1_000_000;

  private final ReentrantLock lock = new ReentrantLock();
  private final GrpcOptions options;
  private final Channels channels;
  private final Futures.Timer timer;
  private final Deque<ManagedChannel> drained = new ArrayDeque<>();
  private Link link;
  private boolean closed;
  private long lastCallNanos;
  private long lastCallWall;

  GrpcTransport(GrpcOptions options, Futures.Timer timer) {
    this.options = options;
    this.timer = timer;
    this.channels = new Channels(options, timer);
  }

  /** One connection (or one per address) with the channel that has it. */
  private static final class Link {
    final ManagedChannel channel;
    final AtomicInteger unanswered = new AtomicInteger();
    volatile boolean answered;

    Link(ManagedChannel channel) {
      this.channel = channel;
    }

    void heard() {
      if (!answered) {
        answered = true;
      }
      if (unanswered.get() != 0) {
        unanswered.set(0);
      }
    }
  }

  @Override
  public boolean renewsToken() {
    return options.authorization() != null && options.authorization().renews();
  }

  private Link current() {
    lock.lock();
    try {
      if (closed) {
        throw Errors.closed();
      }
      if (link != null && options.certificates() != null && options.certificates().changed()) {
        renew();
      }
      if (options.maxIdle() != null) {
        replaceIdle(options.maxIdle());
      }
      if (link == null) {
        link = new Link(channels.open());
      }
      return link;
    } catch (IOException error) {
      throw new IllegalArgumentException("a file of TLS cannot be read: " + error, error);
    } finally {
      lock.unlock();
    }
  }

  private void replaceIdle(double maxIdle) {
    long nanos = System.nanoTime();
    long wall = System.currentTimeMillis();
    // Either clock may have stood still while the process was frozen.
    double idle = Math.max((nanos - lastCallNanos) / NANOS_PER_MS, wall - lastCallWall);
    if (link != null && idle > maxIdle) {
      replace();
    }
    lastCallNanos = nanos;
    lastCallWall = wall;
  }

  /** Takes new certificates. Files that do not fit together, yet, leave the old ones in use. */
  private void renew() {
    try {
      ManagedChannel channel = channels.open();
      replace();
      link = new Link(channel);
    } catch (IOException | IllegalArgumentException notYet) {
      // They are looked at again.
      return;
    }
  }

  /** Makes the next call connect anew. Calls that run keep the old connection. */
  private void replace() {
    ManagedChannel old = link.channel;
    link = null;
    old.shutdown();
    drained.removeIf(ManagedChannel::isTerminated);
    drained.add(old);
    if (drained.size() > MAX_DRAINED) {
      drained.poll().shutdownNow();
    }
    timer.after(DRAINED_MS, old::shutdownNow);
  }

  private CompletableFuture<Metadata> headers(Attempt attempt) {
    Metadata headers = new Metadata();
    if (options.schemaVersion() != null) {
      headers.put(SCHEMA_VERSION, options.schemaVersion());
    }
    attempt
        .headers()
        .forEach(
            (name, value) ->
                headers.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value));
    if (options.authorization() == null) {
      return CompletableFuture.completedFuture(headers);
    }
    return options
        .authorization()
        .get()
        .thenApply(
            value -> {
              headers.put(AUTHORIZATION, value);
              return headers;
            });
  }

  private CallOptions callOptions(Link on, double timeoutMs) {
    if (Double.isInfinite(timeoutMs)) {
      return CallOptions.DEFAULT;
    }
    boolean connected =
        on.answered || on.channel.getState(false) == ConnectivityState.READY;
    // The first call also has the time to connect.
    double ms = connected ? timeoutMs : timeoutMs + options.connectTimeout();
    return CallOptions.DEFAULT.withDeadlineAfter(
        (long) (Math.max(0, ms) * NANOS_PER_MS), TimeUnit.NANOSECONDS);
  }

  @Override
  public <Q, R> CompletableFuture<R> unary(
      MethodDescriptor<Q, R> method, Q request, Attempt attempt) {
    CompletableFuture<R> answer = new CompletableFuture<>();
    start(
        method,
        request,
        attempt,
        new Sink<R>() {
          private R message;

          @Override
          public void message(R received) {
            message = received;
          }

          @Override
          public void end(Throwable error) {
            if (error != null) {
              answer.completeExceptionally(error);
            } else if (message == null) {
              answer.completeExceptionally(
                  Errors.of(Code.INTERNAL, "no answer", ErrorFacts.of("")));
            } else {
              answer.complete(message);
            }
          }
        },
        2);
    return answer;
  }

  @Override
  public <Q, R> Flow stream(
      MethodDescriptor<Q, R> method, Q request, Attempt attempt, Sink<R> sink) {
    return start(method, request, attempt, sink, 1);
  }

  private <Q, R> Flow start(
      MethodDescriptor<Q, R> method, Q request, Attempt attempt, Sink<R> sink, int messages) {
    Running<R> running = new Running<>(attempt.cancellation(), sink);
    headers(attempt)
        .whenComplete(
            (headers, error) -> {
              if (error != null) {
                sink.end(Errors.unwrap(error));
                return;
              }
              try {
                if (attempt.cancellation().isCancelled()) {
                  throw (RuntimeException) wrap(attempt.cancellation().reason());
                }
                Link on = current();
                running.link = on;
                ClientCall<Q, R> call =
                    on.channel.newCall(method, callOptions(on, attempt.timeoutMs()));
                running.begin(call, request, headers, messages);
              } catch (RuntimeException failure) {
                sink.end(failure);
              }
            });
    return running;
  }

  private static Throwable wrap(Throwable reason) {
    return reason instanceof RuntimeException ? reason : Errors.cancelled("cancelled", reason);
  }

  /** One call that runs. */
  private final class Running<R> extends ClientCall.Listener<R> implements Flow {
    private final Cancellation cancellation;
    private final Sink<R> sink;
    private Link link;
    private volatile ClientCall<?, R> call;
    private volatile Runnable forget = () -> {};

    Running(Cancellation cancellation, Sink<R> sink) {
      this.cancellation = cancellation;
      this.sink = sink;
    }

    <Q> void begin(ClientCall<Q, R> started, Q request, Metadata headers, int messages) {
      call = started;
      started.start(this, headers);
      started.sendMessage(request);
      started.halfClose();
      started.request(messages);
      // A call that is cancelled before it is sent would refuse the message.
      forget = cancellation.onCancel(() -> started.cancel("cancelled by the caller", null));
    }

    @Override
    public void next() {
      call.request(1);
    }

    @Override
    public void onMessage(R message) {
      link.heard();
      sink.message(message);
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      forget.run();
      if (status.isOk()) {
        link.heard();
        sink.end(null);
      } else if (cancellation.isCancelled()) {
        sink.end(cancellation.reason());
      } else {
        sink.end(failure(link, status, trailers));
      }
    }
  }

  private Throwable failure(Link on, Status status, Metadata trailers) {
    if (status.getCode() == Status.Code.DEADLINE_EXCEEDED) {
      // A connection can look alive and be dead, after a freeze, a failover or by a NAT: the next
      // call takes another.
      int unanswered = on.unanswered.incrementAndGet();
      if (options.maxIdle() != null || unanswered >= DEAD_AFTER) {
        replaceDead(on);
      }
    } else {
      on.unanswered.set(0);
    }
    if (status.getCode() == Status.Code.UNAUTHENTICATED && options.authorization() != null) {
      options.authorization().refuse();
    }
    return Statuses.error(status, trailers);
  }

  private void replaceDead(Link dead) {
    lock.lock();
    try {
      if (!closed && link == dead) {
        replace();
      }
    } finally {
      lock.unlock();
    }
  }

  /** The channel of now, for the generated messages and other stubs. */
  Channel channel() {
    return current().channel;
  }

  @Override
  public CompletableFuture<Void> connect(double timeoutMs) {
    CompletableFuture<Void> connected = new CompletableFuture<>();
    ManagedChannel channel = current().channel;
    timer.after(
        timeoutMs,
        () ->
            connected.completeExceptionally(
                Errors.of(
                    Code.UNAVAILABLE,
                    "no connection within " + (long) timeoutMs + " ms",
                    ErrorFacts.of(""))));
    watch(channel, connected);
    return connected;
  }

  private static void watch(ManagedChannel channel, CompletableFuture<Void> connected) {
    ConnectivityState state = channel.getState(true);
    if (state == ConnectivityState.READY) {
      connected.complete(null);
    } else if (state == ConnectivityState.SHUTDOWN) {
      connected.completeExceptionally(Errors.closed());
    } else if (!connected.isDone()) {
      channel.notifyWhenStateChanged(state, () -> watch(channel, connected));
    }
  }

  @Override
  public void close() {
    lock.lock();
    try {
      closed = true;
      if (link != null) {
        link.channel.shutdownNow();
      }
      drained.forEach(ManagedChannel::shutdownNow);
      drained.clear();
      link = null;
    } finally {
      lock.unlock();
    }
  }
}
