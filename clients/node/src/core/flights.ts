import { timerDelay } from './durations.js';
import type { Result } from './results.js';

interface Flight {
  readonly namespace: string;
  readonly key: string;
  promise: Promise<Result<any>>;
  callers: number;
  readonly controller: AbortController;
  /** The computation of those that joined and could not use the result of this one. */
  next: Flight | undefined;
}

/** A call that may join: `id` is equal for calls that can share a computation. */
export interface Passenger<T> {
  readonly id: string;
  readonly namespace: string;
  readonly key: string;
  readonly signal: AbortSignal | undefined;
  /** Milliseconds for the computation of another call; undefined: no limit. */
  readonly timeout: number | undefined;
  compute(signal: AbortSignal): Promise<Result<T>>;
}

/**
 * Whether a result is an answer to a call that began after the computation. A value that was read
 * or computed before an invalidation is none, and only a fill that is stored says that there was
 * no invalidation.
 */
function lasting(result: Result<unknown>): boolean {
  return result.degraded || result.stored?.stored === true;
}

/**
 * Computations of this process by key: later calls for a key join the first (singleflight). One
 * that all its callers have left is aborted.
 */
export class Flights {
  private readonly flights = new Map<string, Flight>();
  /** All that run, also those that later calls do not join. */
  private readonly running = new Set<Flight>();

  /** Computes, or joins a computation. Undefined: the one that it joined takes too long. */
  async run<T>(
    passenger: Passenger<T>,
  ): Promise<{ result: Result<T>; joined: boolean } | undefined> {
    passenger.signal?.throwIfAborted();
    const running = this.flights.get(passenger.id);
    if (running === undefined) {
      const flight = this.start(passenger);
      return { result: await this.board(flight, passenger.signal), joined: false };
    }
    const ending = performance.now() + (passenger.timeout ?? Number.POSITIVE_INFINITY);
    const first = await this.join(running, passenger, ending);
    if (first === undefined || lasting(first)) return first && { result: first, joined: true };
    // All that joined ask again, together: what began after them is an answer to them.
    // One that all its callers have left ends with the reason of the last of them.
    if (running.next?.controller.signal.aborted) running.next = undefined;
    running.next ??= this.flights.get(passenger.id);
    if (running.next === undefined) {
      running.next = this.start(passenger);
      return { result: await this.board(running.next, passenger.signal), joined: false };
    }
    const second = await this.join(running.next, passenger, ending);
    return second && { result: second, joined: true };
  }

  private join<T>(
    flight: Flight,
    { signal, timeout }: Passenger<T>,
    ending: number,
  ): Promise<Result<T> | undefined> {
    if (timeout === undefined) return this.board(flight, signal);
    const leaving = new AbortController();
    const late = Symbol('late');
    const timer = setTimeout(
      () => leaving.abort(late), timerDelay(Math.max(0, ending - performance.now())),
    );
    const both = signal === undefined
      ? leaving.signal
      : AbortSignal.any([signal, leaving.signal]);
    return this.board<T>(flight, both)
      .catch((error: unknown) => {
        if (error !== late) throw error;
        return undefined;
      })
      .finally(() => clearTimeout(timer));
  }

  /** Waits for a computation, which ends when the last that waits has left. */
  private board<T>(flight: Flight, signal: AbortSignal | undefined): Promise<Result<T>> {
    flight.callers += 1;
    if (signal === undefined) return flight.promise;
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        reject(signal.reason);
        flight.callers -= 1;
        if (flight.callers === 0) this.end(flight, signal.reason);
      };
      if (signal.aborted) {
        onAbort();
        return;
      }
      signal.addEventListener('abort', onAbort, { once: true });
      flight.promise
        .then(resolve, reject)
        .finally(() => signal.removeEventListener('abort', onAbort));
    });
  }

  private start<T>({ id, namespace, key, compute }: Passenger<T>): Flight {
    const controller = new AbortController();
    const promise = compute(controller.signal);
    const flight: Flight = { namespace, key, promise, callers: 0, controller, next: undefined };
    this.flights.set(id, flight);
    this.running.add(flight);
    const done = () => {
      this.running.delete(flight);
      if (this.flights.get(id) === flight) this.flights.delete(id);
    };
    // A computation without callers may fail without a caller to see it.
    promise.then(done, done);
    return flight;
  }

  private end(flight: Flight, reason: unknown): void {
    // The next call does not join a computation that is being aborted.
    this.remove((each) => each === flight);
    flight.controller.abort(reason);
  }

  private remove(concerned: (flight: Flight) => boolean): void {
    for (const [id, flight] of this.flights) if (concerned(flight)) this.flights.delete(id);
  }

  /** Later calls do not join the computations of now: what they compute was invalidated. */
  forget(namespace: string | undefined, concerns: (key: string) => boolean): void {
    this.remove((flight) => {
      return (namespace === undefined || flight.namespace === namespace) && concerns(flight.key);
    });
  }

  /** Aborts all computations, and waits for their ends. */
  async close(reason: unknown): Promise<void> {
    const all = [...this.running];
    for (const flight of all) this.end(flight, reason);
    await Promise.allSettled(all.map(({ promise }) => promise));
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
