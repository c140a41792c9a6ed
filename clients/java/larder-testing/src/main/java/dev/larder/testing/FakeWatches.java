package dev.larder.testing;

import com.google.protobuf.ByteString;
import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException.Code;
import dev.larder.client.internal.Cancellation;
import dev.larder.client.internal.Errors;
import dev.larder.client.internal.Times;
import dev.larder.client.internal.Transport;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.locks.ReentrantLock;
import larder.v1.CacheServiceOuterClass.Heartbeat;
import larder.v1.CacheServiceOuterClass.Ready;
import larder.v1.CacheServiceOuterClass.Reset;
import larder.v1.CacheServiceOuterClass.ResetReason;
import larder.v1.CacheServiceOuterClass.WatchRequest;
import larder.v1.CacheServiceOuterClass.WatchResponse;

/** The streams of Watch of the fake. They cannot be resumed: each begins with an empty cache. */
final class FakeWatches {
  private static final double HEARTBEAT_MS = 1000;
  private static final double MAX_DELAY_MS = 1000;

  /** Events that a slow reader may have outstanding. */
  private static final int MAX_EVENTS = 10_000;

  private final ReentrantLock lock = new ReentrantLock();
  private final List<Watcher> watchers = new ArrayList<>();

  /** How streams are disturbed. */
  enum How {
    BREAK,
    RESET
  }

  private static WatchResponse ready() {
    return WatchResponse.newBuilder()
        .setReady(
            Ready.newBuilder()
                .setMaxDelay(Times.toWire(MAX_DELAY_MS))
                .setHeartbeat(Times.toWire(HEARTBEAT_MS)))
        .build();
  }

  private static WatchResponse reset(ResetReason reason) {
    return WatchResponse.newBuilder().setReset(Reset.newBuilder().setReason(reason)).build();
  }

  private List<Watcher> all() {
    lock.lock();
    try {
      return List.copyOf(watchers);
    } finally {
      lock.unlock();
    }
  }

  void announce(String namespace, WatchResponse event) {
    for (Watcher watcher : all()) {
      if (watcher.namespaces.contains(namespace) && (watcher.keys || !event.hasKeysChanged())) {
        watcher.send(event);
      }
    }
  }

  void disturb(How how) {
    for (Watcher watcher : all()) {
      if (how == How.BREAK) {
        watcher.end(
            Errors.of(Code.UNAVAILABLE, "the stream is broken", ErrorFacts.of("")));
      } else {
        watcher.send(reset(ResetReason.RESET_REASON_STORE_FLUSHED));
        watcher.send(ready());
      }
    }
  }

  Transport.Flow open(
      WatchRequest request, Cancellation cancellation, Transport.Sink<WatchResponse> sink) {
    Watcher watcher = new Watcher(request, sink);
    lock.lock();
    try {
      watchers.add(watcher);
    } finally {
      lock.unlock();
    }
    watcher.send(ready());
    watcher.beat();
    cancellation.onCancel(() -> watcher.end(cancellation.reason()));
    return watcher;
  }

  /** One stream. Its sink is called by one thread at a time. */
  private final class Watcher implements Transport.Flow {
    final Set<String> namespaces;
    final boolean keys;
    private final ReentrantLock own = new ReentrantLock();
    private final Deque<WatchResponse> events = new ArrayDeque<>();
    private final Transport.Sink<WatchResponse> sink;
    private int wanted = 1;
    private boolean delivering;
    private boolean ended;
    private Throwable error;
    private volatile ScheduledFuture<?> heart;

    Watcher(WatchRequest request, Transport.Sink<WatchResponse> sink) {
      namespaces = new HashSet<>(request.getNamespacesList());
      keys = request.getKeys();
      this.sink = sink;
    }

    void beat() {
      own.lock();
      try {
        // One that runs while the stream ends is the last.
        if (!ended) {
          heart = FakeTimer.SHARED.after(HEARTBEAT_MS, this::heartbeat);
        }
      } finally {
        own.unlock();
      }
    }

    private void heartbeat() {
      Heartbeat alive = Heartbeat.newBuilder().setResumeToken(ByteString.EMPTY).build();
      send(WatchResponse.newBuilder().setHeartbeat(alive).build());
      beat();
    }

    void send(WatchResponse event) {
      own.lock();
      try {
        if (ended) {
          return;
        }
        if (events.size() >= MAX_EVENTS) {
          events.clear();
          events.add(reset(ResetReason.RESET_REASON_SLOW_READER));
          events.add(ready());
        } else {
          events.add(event);
        }
      } finally {
        own.unlock();
      }
      deliver();
    }

    @Override
    public void next() {
      own.lock();
      try {
        wanted++;
      } finally {
        own.unlock();
      }
      deliver();
    }

    void end(Throwable why) {
      own.lock();
      try {
        if (ended) {
          return;
        }
        ended = true;
        error = why;
      } finally {
        own.unlock();
      }
      ScheduledFuture<?> beating = heart;
      if (beating != null) {
        beating.cancel(false);
      }
      lock.lock();
      try {
        watchers.remove(this);
      } finally {
        lock.unlock();
      }
      deliver();
    }

    private void deliver() {
      own.lock();
      try {
        if (delivering) {
          return;
        }
        delivering = true;
      } finally {
        own.unlock();
      }
      FakeThreads.SHARED.execute(this::run);
    }

    private void run() {
      while (true) {
        WatchResponse next = null;
        own.lock();
        try {
          boolean possible = !ended && wanted > 0 && !events.isEmpty();
          if (possible) {
            wanted--;
            next = events.poll();
          } else if (!ended || error == null) {
            delivering = false;
            return;
          }
        } finally {
          own.unlock();
        }
        if (next == null) {
          // The end is the last; delivering stays set.
          sink.end(error);
          return;
        }
        sink.message(next);
      }
    }
  }
}
