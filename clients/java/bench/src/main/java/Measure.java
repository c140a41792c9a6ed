import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;

/** Measures several ways to do the same in turns. The best of all turns counts. */
final class Measure {
  private static final int TURNS = 5;
  private static final int CHECKED_EVERY = 64;
  private static final ThreadMXBean THREADS =
      (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private final double seconds;

  Measure(double seconds) {
    this.seconds = seconds;
  }

  /** One call. */
  @FunctionalInterface
  interface Step {
    void run() throws Exception;
  }

  /** Calls per second, and bytes that each allocates, in all threads. */
  record Figure(double rate, double bytes) {}

  private static long allocated() {
    long sum = 0;
    for (long bytes : THREADS.getThreadAllocatedBytes(THREADS.getAllThreadIds())) {
      sum += Math.max(0, bytes);
    }
    return sum;
  }

  private static Figure once(Step step, int threads, double seconds) throws Exception {
    LongAdder calls = new LongAdder();
    long end = System.nanoTime() + (long) (seconds * TimeUnit.SECONDS.toNanos(1));
    List<Thread> running = new ArrayList<>();
    Throwable[] failure = new Throwable[1];
    long before = allocated();
    long begun = System.nanoTime();
    for (int number = 1; number < threads; number++) {
      Thread thread = new Thread(() -> loop(step, end, calls, failure));
      thread.start();
      running.add(thread);
    }
    loop(step, end, calls, failure);
    for (Thread thread : running) {
      thread.join();
    }
    double took = (System.nanoTime() - begun) / 1e9;
    long bytes = allocated() - before;
    if (failure[0] != null) {
      throw new IllegalStateException(failure[0]);
    }
    return new Figure(calls.sum() / took, threads > 1 ? Double.NaN : (double) bytes / calls.sum());
  }

  private static void loop(Step step, long end, LongAdder calls, Throwable[] failure) {
    try {
      while (System.nanoTime() < end) {
        for (int round = 0; round < CHECKED_EVERY; round++) {
          step.run();
        }
        calls.add(CHECKED_EVERY);
      }
    } catch (Throwable error) {
      failure[0] = error;
    }
  }

  /** The best figure of each way, all in turns. */
  Map<String, Figure> inTurns(int threads, Map<String, Step> ways) throws Exception {
    Map<String, Figure> best = new LinkedHashMap<>();
    for (Step step : ways.values()) {
      once(step, threads, seconds);
    }
    for (int turn = 0; turn < TURNS; turn++) {
      for (Map.Entry<String, Step> way : ways.entrySet()) {
        Figure figure = once(way.getValue(), threads, seconds);
        best.merge(
            way.getKey(), figure, (one, other) -> one.rate() > other.rate() ? one : other);
      }
    }
    return best;
  }

  /** Prints the figures of ways, each with its share of the first. */
  void print(String title, int threads, Map<String, Step> ways) throws Exception {
    double first = 0;
    for (Map.Entry<String, Figure> way : inTurns(threads, ways).entrySet()) {
      Figure figure = way.getValue();
      first = first == 0 ? figure.rate() : first;
      System.out.printf(
          "%-28s %2d thread%s %-16s %12.0f/s %10.0f ns %8s B  %.2f%n",
          title,
          threads,
          threads == 1 ? " " : "s",
          way.getKey(),
          figure.rate(),
          1e9 * threads / figure.rate(),
          Double.isNaN(figure.bytes()) ? "" : Long.toString(Math.round(figure.bytes())),
          figure.rate() / first);
    }
  }
}
