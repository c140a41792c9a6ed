package dev.larder.client.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class BreakerTest {
  private static final double LIMIT_MS = 10_000;

  private final Breaker breaker = new Breaker();

  private void waitForATrial() throws InterruptedException {
    double end = Times.now() + LIMIT_MS;
    while (breaker.allow() != Breaker.Permit.TRIAL) {
      assertTrue(Times.now() < end, "no call tries");
      Thread.sleep(2);
    }
  }

  private void open() {
    for (int call = 0; call < 5; call++) {
      breaker.failure(false);
    }
  }

  @Test
  void aTrialThatHasNotEndedDoesNotHoldUpTheNext() throws InterruptedException {
    open();
    waitForATrial();
    waitForATrial();
    breaker.cancelled(true);
    assertEquals(Breaker.Permit.TRIAL, breaker.allow());
  }

  @Test
  void outagesOfCallsThatAreAlwaysSentDoNotPutTheNextTrialOff() throws InterruptedException {
    open();
    double end = Times.now() + LIMIT_MS;
    while (breaker.allow() != Breaker.Permit.TRIAL) {
      breaker.failure(false);
      assertTrue(Times.now() < end, "no call tries");
      Thread.sleep(2);
    }
  }
}
