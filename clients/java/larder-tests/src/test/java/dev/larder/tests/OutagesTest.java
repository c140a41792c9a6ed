package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.larder.client.LarderClient;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.OnError;
import dev.larder.client.Preset;
import dev.larder.client.Result;
import dev.larder.client.Targets;
import dev.larder.client.UnavailableException;
import dev.larder.testing.FakeFailure;
import dev.larder.testing.FakeLarder;
import dev.larder.testing.LarderServer;
import java.text.MessageFormat;
import java.time.Duration;
import java.util.List;
import java.util.ResourceBundle;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;

/** A cache that is away, and connections that die in silence. */
class OutagesTest {
  /** Keeps what it is given. */
  private static final class Log implements System.Logger {
    final List<String> lines = new CopyOnWriteArrayList<>();

    @Override
    public String getName() {
      return "test";
    }

    @Override
    public boolean isLoggable(Level level) {
      return true;
    }

    @Override
    public void log(Level level, ResourceBundle bundle, String message, Throwable thrown) {
      lines.add(level + " " + message);
    }

    @Override
    public void log(Level level, ResourceBundle bundle, String format, Object... values) {
      lines.add(level + " " + MessageFormat.format(format, values));
    }
  }

  private static void await(BooleanSupplier condition) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() < deadline, "it does not come");
      Thread.sleep(20);
    }
  }

  @Test
  void anOutageIsLoggedOnceAndSoIsItsEnd() throws Exception {
    FakeLarder fake = new FakeLarder();
    Log log = new Log();
    try (LarderClient client = fake.client(LarderClient.builder().logger(log))) {
      Namespace<String> names = client.namespace("names", String.class);
      fake.fail(FakeFailure.UNAVAILABLE);
      for (int call = 0; call < 10; call++) {
        Result<String> result = names.get("k");
        assertTrue(result.degraded());
        assertFalse(result.found());
      }
      assertEquals("computed", names.getOrFetch("k", context -> "computed").value());
      assertThrows(UnavailableException.class, () -> names.delete("k"));
      assertThrows(UnavailableException.class, () -> names.invalidate(Targets.tags("t")));
      Namespace<String> strict =
          client.namespace(
              "names", String.class, NamespaceOptions.DEFAULTS.onError(OnError.RAISE));
      assertThrows(UnavailableException.class, () -> strict.get("k"));
      assertEquals(1, log.lines.size(), log.lines.toString());
      assertTrue(log.lines.get(0).startsWith("WARNING the cache is away: UNAVAILABLE"));
      fake.recover();
      await(() -> !names.get("k").degraded());
      assertEquals(2, log.lines.size(), log.lines.toString());
      assertTrue(log.lines.get(1).startsWith("INFO the cache answers again"));
    }
  }

  @Test
  void aConnectionThatDiedInSilenceIsReplaced() throws Exception {
    try (LarderServer server = LarderServer.start();
        SilentProxy proxy = new SilentProxy(server.target());
        LarderClient client =
            LarderClient.builder()
                .target(proxy.target())
                .preset(Preset.SERVICE)
                .callTimeout(Duration.ofMillis(200))
                .logger(null)
                .build()) {
      Namespace<String> names = client.namespace("names", String.class);
      await(() -> names.set("k", "v").stored());
      assertEquals(1, proxy.accepted());
      proxy.silence();
      // Five calls without an answer in time, and a while in which the breaker answers.
      await(() -> names.get("k").found());
      assertTrue(proxy.accepted() > 1);
    }
  }

  @Test
  void aRestartedServerIsFoundAgainSoon() throws Exception {
    LarderServer first = LarderServer.start();
    int port = Integer.parseInt(first.target().split(":")[1]);
    try (LarderClient client =
        LarderClient.builder().target(first.target()).logger(null).build()) {
      Namespace<String> names = client.namespace("names", String.class);
      await(() -> names.set("k", "v").stored());
      first.close();
      await(() -> names.get("k").degraded());
      // gRPC alone would wait for longer and longer: see the time after an outage of some seconds.
      Thread.sleep(5000);
      try (LarderServer second = LarderServer.builder().port(port).start()) {
        long began = System.nanoTime();
        await(() -> names.set("k", "v").stored());
        long seconds = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - began);
        assertTrue(seconds < 5, seconds + " s after the start of " + second.target());
      }
    }
  }
}
