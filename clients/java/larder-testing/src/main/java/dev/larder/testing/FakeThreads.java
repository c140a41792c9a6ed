package dev.larder.testing;

import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * The threads of all fakes of the process, in which answers arrive. They are not those of the
 * common pool, which a test may block with its calls. They end when there is nothing to do.
 */
final class FakeThreads {
  private static final int THREADS = 32;

  static final Executor SHARED = start();

  private FakeThreads() {}

  static Thread daemon(Runnable action) {
    Thread thread = new Thread(action, "larder-fake");
    thread.setDaemon(true);
    return thread;
  }

  private static Executor start() {
    ThreadPoolExecutor threads =
        new ThreadPoolExecutor(
            THREADS,
            THREADS,
            1,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(),
            FakeThreads::daemon);
    threads.allowCoreThreadTimeOut(true);
    return threads;
  }
}
