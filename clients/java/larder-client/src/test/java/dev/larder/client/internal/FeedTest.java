package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.Change;
import org.junit.jupiter.api.Test;

/** When near caches may be used. */
class FeedTest {
  private static final double SILENCE_MS = 60_000;

  private final Feed feed = new Feed(null, unused -> false);

  private void receive(Follow.Kind kind, Change change) {
    feed.signal(new Follow.Signal(kind, change, SILENCE_MS), () -> {});
  }

  private boolean liveAfter(double ms) {
    return feed.isLive(Times.now() + ms);
  }

  @Test
  void aLateHeartbeatOfAStreamThatIsNotBrokenEndsTheLapse() {
    receive(Follow.Kind.CHANGE, new Change.Ready(false));
    assertTrue(liveAfter(0));
    assertFalse(liveAfter(SILENCE_MS + 1));
    receive(Follow.Kind.ALIVE, null);
    assertTrue(liveAfter(0));
    assertFalse(liveAfter(SILENCE_MS + 1));
    receive(Follow.Kind.CHANGE, new Change.NamespaceInvalidated());
    assertTrue(liveAfter(0));
  }
}
