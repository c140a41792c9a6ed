package dev.larder.client.internal;

import dev.larder.client.Change;
import dev.larder.client.ListedKey;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BiPredicate;
import java.util.function.Predicate;

/** The changes of a namespace for its near caches, from Watch and from writes of this client. */
final class Feed implements Follow.Listener {
  private final List<NearCache<?>> listeners = new CopyOnWriteArrayList<>();
  private final AtomicBoolean started = new AtomicBoolean();
  private final Scope<?> scope;
  private volatile boolean ready;
  private volatile double silence;
  private volatile double heardSteady;
  private volatile long heardWall;
  private Cancellation ending;

  Feed(Scope<?> scope) {
    this.scope = scope;
  }

  void listen(NearCache<?> listener) {
    listeners.add(listener);
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
    // A stream that was silent for too long has been given up before.
    if (ready) {
      isLive(Times.now());
    }
    heardSteady = Times.now();
    heardWall = System.currentTimeMillis();
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
    listeners.forEach(listener -> listener.keyChanged(key));
  }

  void tagsInvalidated(List<String> tags) {
    matching((key, held) -> held.stream().anyMatch(tags::contains));
  }

  void patternInvalidated(String glob) {
    Predicate<String> matches = Globs.matcher(glob);
    matching((key, tags) -> matches == null || matches.test(key));
  }

  private void matching(BiPredicate<String, List<String>> concerns) {
    listeners.forEach(listener -> listener.matching(concerns));
  }

  void clear() {
    listeners.forEach(NearCache::clear);
  }
}
