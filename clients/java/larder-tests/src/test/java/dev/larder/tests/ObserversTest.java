package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.CallObserver;
import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.Preset;
import dev.larder.testing.FakeFailure;
import dev.larder.testing.FakeLarder;
import dev.larder.testing.LarderServer;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

/** Observers that fail do not change calls. */
class ObserversTest {
  /** Throws in one of its methods. */
  private static final class Failing implements CallObserver {
    final AtomicReference<String> where;

    Failing(String where) {
      this.where = new AtomicReference<>(where);
    }

    private void at(String place) {
      if (place.equals(where.get())) {
        throw new NoSuchMethodError(place);
      }
    }

    @Override
    public Object current() {
      at("current");
      return null;
    }

    @Override
    public Observed start(String method, String namespace, Object parent) {
      at("start");
      return new Observed() {
        @Override
        public Map<String, String> headers() {
          at("headers");
          return "name".equals(where.get()) ? Map.of("a name", "v") : Map.of();
        }

        @Override
        public void end(Throwable error) {
          at("end");
        }
      };
    }

    @Override
    public void close() {
      at("close");
    }
  }

  @Test
  void callsGoOn() throws Exception {
    try (LarderServer server = LarderServer.start()) {
      for (String place : List.of("current", "start", "headers", "name", "end", "close")) {
        try (LarderClient client =
            LarderClient.builder()
                .target(server.target())
                .preset(Preset.LOCAL)
                .logger(null)
                .observer(new Failing(place))
                .build()) {
          Namespace<String> names = client.namespace("observed", String.class);
          assertTrue(names.set(place, "v").stored(), place);
          assertEquals("v", names.get(place).value(), place);
          var loaded = names.getOrFetch(place + " loaded", load -> "w");
          assertTrue(loaded.stored().orElseThrow().stored(), place);
        }
      }
    }
  }

  @Test
  void theCallThatTriesForAllOthersEnds() throws Exception {
    FakeLarder fake = new FakeLarder();
    Failing observer = new Failing("");
    try (LarderClient client =
        fake.client(LarderClient.builder().logger(null).observer(observer))) {
      Namespace<String> names = client.namespace("observed", String.class);
      fake.fail(FakeFailure.UNAVAILABLE);
      for (int call = 0; call < 10; call++) {
        assertTrue(names.get("k").degraded());
      }
      fake.recover();
      observer.where.set("start");
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      while (names.get("k").degraded()) {
        assertFalse(System.nanoTime() > deadline, "it does not come");
        Thread.sleep(10);
      }
    }
  }
}
