import type { Method } from '../transport/methods.js';
import type { Attempt, Transport } from '../transport/transport.js';
import { Breaker, RetryBudget } from './breaker.js';
import type { Counts } from './counters.js';
import { isOutage, LarderError, larderError } from './errors.js';
import type { Telemetry } from './telemetry.js';
import { sleep } from './timers.js';

/** How a call is made. */
export interface CallSpec {
  /** Milliseconds for the answer, all attempts together. */
  timeout: number;
  signal?: AbortSignal | undefined;
  namespace: string;
  count: Counts;
  /** Whether the call can be repeated without another effect. */
  idempotent: boolean;
  /** Whether the caller goes on without the cache at an outage: the breaker may answer. */
  open: boolean;
  /** Whether the call is made while the client closes. */
  parting?: boolean;
}

/** Receives what a client reports about itself. */
export interface Logger {
  warn(message: string, facts?: Record<string, unknown>): void;
  info(message: string, facts?: Record<string, unknown>): void;
}

const ATTEMPTS = 3;
const FIRST_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 200;

/** Makes calls: retries, breaker, counters, telemetry and the log of outages. */
export class Caller {
  private readonly breaker = new Breaker();
  private readonly budget = new RetryBudget();
  private outageSince: number | undefined;
  private state: 'open' | 'closing' | 'closed' = 'open';

  constructor(
    readonly transport: Transport,
    private readonly logger: Logger | undefined,
    private readonly telemetry: Telemetry | undefined,
    private readonly headers: Readonly<Record<string, string>> | undefined,
  ) {}

  unary<Q, R>(method: Method<Q, R>, request: Q, spec: CallSpec): Promise<R> {
    return this.run(method.name, spec, (attempt) =>
      this.transport.unary(method, request, attempt),
    );
  }

  /**
   * All messages of a stream.
   *
   * @param arrived receives each message as it comes, also if the stream fails after it; the call
   * is not repeated then
   */
  collect<Q, R>(
    method: Method<Q, R>, request: Q, spec: CallSpec, arrived?: R[],
  ): Promise<R[]> {
    const how = { ...spec };
    return this.run(method.name, how, async (attempt) => {
      const messages: R[] = arrived ?? [];
      for await (const message of this.transport.stream(method, request, attempt)) {
        messages.push(message);
        if (arrived !== undefined) how.idempotent = false;
      }
      return messages;
    });
  }

  /** @throws FailedPrecondition (`CLIENT_CLOSED`) after `close` */
  checkOpen(): void {
    if (this.state !== 'open') {
      throw larderError('FAILED_PRECONDITION', 'the client is closed', {
        reason: 'CLIENT_CLOSED',
      });
    }
  }

  /** Refuses new calls, except those that give leases up. */
  closing(): void {
    this.state = 'closing';
  }

  close(): void {
    this.state = 'closed';
    this.telemetry?.close();
    this.transport.close();
  }

  private async run<R>(
    name: string,
    spec: CallSpec,
    call: (attempt: Attempt) => Promise<R>,
  ): Promise<R> {
    if (this.state !== 'closing' || spec.parting !== true) this.checkOpen();
    const allowed = !spec.open || this.breaker.allow();
    const trial = allowed === 'trial';
    if (!allowed) {
      spec.count.errors += 1;
      throw larderError('UNAVAILABLE', 'not sent: the calls before have failed', {
        reason: 'BREAKER_OPEN',
      });
    }
    const started = performance.now();
    const span = this.telemetry?.start(name, spec.namespace);
    const headers =
      this.headers === undefined ? span?.headers : { ...this.headers, ...span?.headers };
    for (let attempts = 1; ; attempts += 1) {
      try {
        const timeout =
          attempts === 1 ? spec.timeout : spec.timeout - (performance.now() - started);
        const answer = await call({ timeout, signal: spec.signal, headers });
        this.succeeded();
        span?.end(undefined);
        return answer;
      } catch (error) {
        if (!(error instanceof LarderError)) {
          // The caller has cancelled the call, or its arguments cannot be sent.
          this.breaker.cancelled(trial);
          span?.end(error);
          throw error;
        }
        if (attempts === 1 && error.code === 'UNAUTHENTICATED' && this.transport.renewsToken) {
          continue;
        }
        const delay = this.retryDelay(error, attempts, spec);
        if (delay !== undefined && performance.now() - started + delay < spec.timeout) {
          spec.count.retries += 1;
          try {
            await sleep(delay, spec.signal);
            continue;
          } catch (reason) {
            this.breaker.cancelled(trial);
            span?.end(reason);
            throw reason;
          }
        }
        this.failed(error, spec, trial);
        span?.end(error);
        throw error;
      }
    }
  }

  private retryDelay(error: LarderError, attempts: number, spec: CallSpec): number | undefined {
    if (error.code !== 'UNAVAILABLE') return undefined;
    const budgeted = this.budget.failure();
    if (!spec.idempotent || attempts >= ATTEMPTS || !budgeted) return undefined;
    if (error.pushback !== undefined) return error.pushback >= 0 ? error.pushback : undefined;
    if (error.retryAfter !== undefined) return error.retryAfter;
    const backoff = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attempts - 1));
    return backoff * (0.8 + Math.random() * 0.4);
  }

  private succeeded(): void {
    this.breaker.success();
    this.budget.success();
    if (this.outageSince === undefined) return;
    const seconds = (performance.now() - this.outageSince) / 1000;
    this.outageSince = undefined;
    this.logger?.info(`larder: the cache answers again after ${seconds.toFixed(1)} s`);
  }

  private failed(error: LarderError, spec: CallSpec, trial: boolean): void {
    spec.count.errors += 1;
    if (!isOutage(error)) {
      // The server is there, and it is the call that is wrong.
      this.breaker.success();
      return;
    }
    this.breaker.failure(trial);
    if (this.outageSince !== undefined) return;
    this.outageSince = performance.now();
    this.logger?.warn(`larder: the cache is away: ${error.message}`, {
      code: error.code,
      reason: error.reason,
      namespace: spec.namespace,
    });
  }
}
