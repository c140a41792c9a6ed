const FAILURES = 5;
const OPEN_MS = 500;
const JITTER_MS = 250;

/**
 * Spares calls the deadline while the cache is away: after 5 outages in a row, calls that fail open
 * are not sent for 500 to 750 ms. Then one tries after each such time, until one succeeds: also if the
 * one before has not ended, because it can wait for a computation of another process.
 */
export class Breaker {
  private failures = 0;
  private openUntil = 0;

  /** Whether a call may be sent, also as the one that tries. It must report its end. */
  allow(): boolean | 'trial' {
    if (this.failures < FAILURES) return true;
    if (performance.now() < this.openUntil) return false;
    this.open();
    return 'trial';
  }

  /** The server has answered. */
  success(): void {
    this.failures = 0;
  }

  /**
   * A call has ended with an outage. Those of calls that are sent while the breaker is open do not
   * put the next trial off.
   */
  failure(trial: boolean): void {
    this.failures += 1;
    if (this.failures === FAILURES || trial) this.open();
  }

  /** A call has ended without saying anything about the server: its caller has cancelled it. */
  cancelled(trial: boolean): void {
    if (trial) this.openUntil = 0;
  }

  private open(): void {
    this.openUntil = performance.now() + OPEN_MS + Math.random() * JITTER_MS;
  }
}

const TOKENS = 10;
const TOKENS_PER_SUCCESS = 0.1;

/** Bounds retries, so that they do not multiply the load of a server in trouble. */
export class RetryBudget {
  private tokens = TOKENS;

  success(): void {
    if (this.tokens < TOKENS) this.tokens = Math.min(TOKENS, this.tokens + TOKENS_PER_SUCCESS);
  }

  /** Counts a failure. Whether it may be followed by a retry. */
  failure(): boolean {
    this.tokens = Math.max(0, this.tokens - 1);
    return this.tokens > TOKENS / 2;
  }
}
