package dev.larder.client.internal;

import dev.larder.client.Change;
import dev.larder.client.ListedKey;
import java.lang.ref.WeakReference;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BiPredicate;
import java.util.function.Consumer;
import java.util.function.Predicate;

/** The changes of a namespace for its near caches, from Watch and from writes of this client. */
final class Feed implements Follow.Listener {
  /** A handle that the program has dropped takes its near cache with it. */
  private final List<WeakReference<NearCache<?>>> listeners = new CopyOnWriteArrayList<>();

  private final AtomicBoolean started = new AtomicBoolean();
  private final Scope<?> scope;
  private final Predicate<Feed> unused;
  private volatile boolean ready;

  /** It was silent for too long, but its stream is not broken: the next message ends that. */
  private volatile boolean lapsed;

  private volatile double silence;
  private volatile double heardSteady;
  private volatile long heardWall;
  private Cancellation ending;

  /** {@code unused} is whether no near cache uses it any more, after which none will. */
  Feed(Scope<?> scope, Predicate<Feed> unused) {
    this.scope = scope;
    this.unused = unused;
  }

  void listen(NearCache<?> listener) {
    listeners.removeIf(each -> each.get() == null);
    listeners.add(new WeakReference<>(listener));
  }

  /** Whether a near cache uses it. */
  boolean isUsed() {
    listeners.removeIf(each -> each.get() == null);
    return !listeners.isEmpty();
  }

  private void forEach(Consumer<NearCache<?>> action) {
    for (WeakReference<NearCache<?>> each : listeners) {
      NearCache<?> listener = each.get();
      if (listener != null) {
        action.accept(listener);
      }
    }
  }

  /** Whether all changes arrive. The first call opens the stream: a handle does not connect. */
  boolean isLive(double now) {
    if (!ready) {
      start();
      return false;
    }
    // Either clock may have stood still while the process was frozen.
    double silent = Math.max(now - heardSteady, System.currentTimeMillis() - heardWall);
    if (silent <= silence) {
      return true;
    }
    ready = false;
    // After that, so that a message in between does not leave the feed unused.
    lapsed = true;
    clear();
    return false;
  }

  private void start() {
    if (started.compareAndSet(false, true)) {
      ending = scope.core.running.open(null);
      new Follow(scope, true, ending, this).start();
    }
  }

  @Override
  public void signal(Follow.Signal signal, Runnable next) {
    if (unused.test(this)) {
      ending.cancel(Errors.cancelled("no near cache is left", null));
      return;
    }
    // A stream that was silent for too long has been given up before.
    if (ready) {
      isLive(Times.now());
    }
    heardSteady = Times.now();
    heardWall = System.currentTimeMillis();
    boolean begins = signal.change() instanceof Change.Ready;
    boolean ends = signal.kind() == Follow.Kind.BROKEN || signal.change() instanceof Change.Reset;
    if (lapsed && !begins && !ends) {
      // No message of the stream is lost; what was held is gone.
      ready = true;
    }
    lapsed = false;
    if (signal.kind() == Follow.Kind.BROKEN) {
      // The entries are valid again if the stream can be continued.
      ready = false;
      matching((key, tags) -> false);
    } else if (signal.change() instanceof Change.Ready begun) {
      if (!begun.resumed()) {
        clear();
      }
      silence = signal.silence();
      ready = true;
    } else if (signal.change() instanceof Change.Reset) {
      ready = false;
      clear();
    } else if (signal.change() instanceof Change.KeysChanged changed) {
      changed.keys().stream().map(ListedKey::key).forEach(this::keyChanged);
    } else if (signal.change() instanceof Change.NamespaceInvalidated) {
      clear();
    } else if (signal.change() instanceof Change.TagsInvalidated tagged) {
      tagsInvalidated(tagged.tags());
    } else if (signal.change() instanceof Change.PatternInvalidated pattern) {
      patternInvalidated(pattern.glob());
    }
    next.run();
  }

  @Override
  public void end(Throwable error) {
    ready = false;
    clear();
    scope.core.running.end(ending);
    if (error != null) {
      scope.core.warn("no near cache of " + scope.namespace + ": " + error);
    }
  }

  void keyChanged(String key) {
    forEach(listener -> listener.keyChanged(key));
  }

  void tagsInvalidated(List<String> tags) {
    matching((key, held) -> held.stream().anyMatch(tags::contains));
  }

  void patternInvalidated(String glob) {
    Predicate<String> matches = Globs.matcher(glob);
    matching((key, tags) -> matches == null || matches.test(key));
  }

  private void matching(BiPredicate<String, List<String>> concerns) {
    forEach(listener -> listener.matching(concerns));
  }

  void clear() {
    forEach(NearCache::clear);
  }
}
