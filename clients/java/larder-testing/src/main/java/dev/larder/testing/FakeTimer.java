package dev.larder.testing;

import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Delays of all fakes of the process. Its thread ends when there are none. */
final class FakeTimer {
  static final FakeTimer SHARED = new FakeTimer();

  private final ScheduledThreadPoolExecutor executor =
      new ScheduledThreadPoolExecutor(1, FakeThreads::daemon);

  private FakeTimer() {
    executor.setRemoveOnCancelPolicy(true);
    executor.setKeepAliveTime(1, TimeUnit.SECONDS);
    executor.allowCoreThreadTimeOut(true);
  }

  ScheduledFuture<?> after(double ms, Runnable action) {
    long micros = (long) Math.min(ms * 1000, Long.MAX_VALUE / 2d);
    return executor.schedule(action, micros, TimeUnit.MICROSECONDS);
  }
}
