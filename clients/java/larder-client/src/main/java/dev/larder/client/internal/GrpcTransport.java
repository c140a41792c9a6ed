package dev.larder.client.internal;

import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException.Code;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ConnectivityState;
import io.grpc.Context;
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
  /** After so many calls in a row without an answer in time a connection counts as dead. */
  private static final int DEAD_AFTER = 5;

  /** Calls on a connection that was replaced have this long to end. */
  private static final double DRAINED_MS = 60_000;

  private static final int MAX_DRAINED = 8;
  private static final double NANOS_PER_MS = 1_000_000;

  private final ReentrantLock lock = new ReentrantLock();
  private final GrpcOptions options;
  private final CallHeaders headers;
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
    this.headers = new CallHeaders(options, timer);
    this.channels = new Channels(options, timer);
  }

  /** One connection (or one per address) with the channel that has it. */
  private static final class Link {
    final ManagedChannel channel;
    final AtomicInteger unanswered = new AtomicInteger();
    volatile boolean answered;

    /** Counts answers, roughly: only whether there was one is asked. */
    volatile int answers;

    Link(ManagedChannel channel) {
      this.channel = channel;
    }

    void heard() {
      answers++;
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
        certificatesInUse();
      }
      return link;
    } catch (IOException | IllegalArgumentException error) {
      if (options.certificates() == null) {
        throw new IllegalArgumentException("the target cannot be used: " + error, error);
      }
      // They may be replaced just now: the next call reads them again.
      throw Errors.of(
          Code.UNAVAILABLE,
          "the certificates cannot be used: " + error,
          ErrorFacts.of("CERTIFICATES").withCause(error));
    } finally {
      lock.unlock();
    }
  }

  private void certificatesInUse() {
    if (options.certificates() != null) {
      options.certificates().inUse();
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
      certificatesInUse();
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

  private CallOptions callOptions(Link on, double timeoutMs, Attempt attempt) {
    CallOptions options =
        attempt.callbacks() == null
            ? CallOptions.DEFAULT
            : CallOptions.DEFAULT.withExecutor(attempt.callbacks());
    if (Double.isInfinite(timeoutMs)) {
      return options;
    }
    boolean connected =
        on.answered || on.channel.getState(false) == ConnectivityState.READY;
    // The first call also has the time to connect.
    double ms = connected ? timeoutMs : timeoutMs + this.options.connectTimeout();
    return options.withDeadlineAfter(
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
    double asked = Times.now();
    headers
        .of(attempt)
        .whenComplete(
            (found, error) -> {
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
                running.authorization = found.get(CallHeaders.AUTHORIZATION);
                double left = attempt.timeoutMs() - (Times.now() - asked);
                begin(running, method, request, callOptions(on, left, attempt), found, messages);
              } catch (RuntimeException failure) {
                sink.end(failure);
              }
            });
    return running;
  }

  /**
   * Begins a call outside of the context of this thread: the RPC that a server handles here must
   * not end it, as others may have joined it. The attempt has its own deadline and cancellation.
   */
  private static <Q, R> void begin(
      Running<R> running,
      MethodDescriptor<Q, R> method,
      Q request,
      CallOptions options,
      Metadata headers,
      int messages) {
    Context before = Context.ROOT.attach();
    try {
      ClientCall<Q, R> call = running.link.channel.newCall(method, options);
      running.begin(call, request, headers, messages);
    } finally {
      Context.ROOT.detach(before);
    }
  }

  private static Throwable wrap(Throwable reason) {
    return reason instanceof RuntimeException ? reason : Errors.cancelled("cancelled", reason);
  }

  /** One call that runs. */
  private final class Running<R> extends ClientCall.Listener<R> implements Flow {
    private final Cancellation cancellation;
    private final Sink<R> sink;
    private Link link;
    private String authorization;
    private int answersBefore;
    private volatile ClientCall<?, R> call;
    private volatile Runnable forget = () -> {};

    Running(Cancellation cancellation, Sink<R> sink) {
      this.cancellation = cancellation;
      this.sink = sink;
    }

    <Q> void begin(ClientCall<Q, R> started, Q request, Metadata headers, int messages) {
      call = started;
      answersBefore = link.answers;
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
      answersBefore = link.answers;
      sink.message(message);
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      forget.run();
      if (status.isOk()) {
        link.heard();
        sink.end(null);
      } else if (cancellation.isCancelled()) {
        if (cancellation.reason() instanceof Silence && link.answers == answersBefore) {
          // Nothing at all came, as on a connection that is dead.
          replaceDead(link);
        }
        sink.end(cancellation.reason());
      } else {
        sink.end(failure(link, status, trailers, authorization));
      }
    }
  }

  private Throwable failure(
      Link on, Status status, Metadata trailers, String authorization) {
    if (status.getCode() == Status.Code.DEADLINE_EXCEEDED && !Statuses.isAnswer(trailers)) {
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
      options.authorization().refuse(authorization);
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
