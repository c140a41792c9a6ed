import type { Result } from './results.js';

interface Flight {
  promise: Promise<Result<any>>;
  callers: number;
  readonly controller: AbortController;
}

/**
 * Computations of this process by key: later calls for a key join the first (singleflight). One
 * that all its callers have left is aborted.
 */
export class Flights {
  private readonly flights = new Map<string, Flight>();

  /** Runs `compute`, or joins the computation that runs for `id`. */
  async run<T>(
    id: string,
    signal: AbortSignal | undefined,
    compute: (signal: AbortSignal) => Promise<Result<T>>,
  ): Promise<{ result: Result<T>; joined: boolean }> {
    signal?.throwIfAborted();
    const running = this.flights.get(id);
    const flight = running ?? this.start(id, compute);
    flight.callers += 1;
    const joined = running !== undefined;
    if (signal === undefined) return { result: await flight.promise, joined };
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        reject(signal.reason);
        flight.callers -= 1;
        if (flight.callers === 0) this.end(id, flight, signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      flight.promise
        .then((result) => resolve({ result, joined }), reject)
        .finally(() => signal.removeEventListener('abort', onAbort));
    });
  }

  private start<T>(
    id: string,
    compute: (signal: AbortSignal) => Promise<Result<T>>,
  ): Flight {
    const controller = new AbortController();
    const flight: Flight = {
      promise: compute(controller.signal),
      callers: 0,
      controller,
    };
    this.flights.set(id, flight);
    const done = () => {
      if (this.flights.get(id) === flight) this.flights.delete(id);
    };
    // A computation without callers may fail without anybody to see it.
    flight.promise.then(done, done);
    return flight;
  }

  private end(id: string, flight: Flight, reason: unknown): void {
    // The next call does not join a computation that is being aborted.
    if (this.flights.get(id) === flight) this.flights.delete(id);
    flight.controller.abort(reason);
  }

  /** Aborts all computations, and waits for their ends. */
  async close(reason: unknown): Promise<void> {
    const all = [...this.flights];
    for (const [id, flight] of all) this.end(id, flight, reason);
    await Promise.allSettled(all.map(([, { promise }]) => promise));
  }
}

/** Computations without a caller that waits: bounded, and known so that `close` can end them. */
export class Background {
  private readonly running = new Set<AbortController>();
  private readonly parting = new Set<Promise<unknown>>();

  constructor(private readonly limit: number) {}

  /** Runs `work`, unless as many as are allowed run. False: it does not. */
  start(work: (signal: AbortSignal) => Promise<unknown>): boolean {
    if (this.running.size >= this.limit) return false;
    const controller = new AbortController();
    this.running.add(controller);
    this.track(work(controller.signal).finally(() => this.running.delete(controller)));
    return true;
  }

  /** Lets `close` wait for the end of a call. Its errors are the call's own affair. */
  track(call: Promise<unknown>): void {
    const settled: Promise<unknown> = call.then(
      () => this.parting.delete(settled),
      () => this.parting.delete(settled),
    );
    this.parting.add(settled);
  }

  /** Aborts the computations, and waits for what they and others still send. */
  async close(reason: unknown): Promise<void> {
    for (const controller of this.running) controller.abort(reason);
    // The end of a computation may be followed by the call that gives its lease up.
    while (this.parting.size > 0) await Promise.all(this.parting);
  }
}
