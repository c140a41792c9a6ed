import type { Duration } from './durations.js';
import type { Key } from './scope.js';

/** How a computed value is cached. */
export interface LoadedOptions {
  /** How long it is fresh, in place of the call's `ttl`. */
  ttl?: Duration;
  /** Tags, in addition to the call's. */
  tags?: readonly string[];
  /** False: the value is returned and must not be cached. */
  store?: boolean;
}

/** A computed value with how it is cached: see {@link loaded}. */
export class Loaded<T> {
  constructor(
    readonly value: T,
    readonly options: LoadedOptions,
  ) {}
}

/**
 * What a loader returns if the value itself decides how it is cached, such as
 * `loaded(user, { ttl: '5m', tags: [user.team] })` or `loaded(user, { store: false })`.
 */
export function loaded<T>(value: T, options: LoadedOptions = {}): Loaded<T> {
  return new Loaded(value, options);
}

/** What a loader receives. */
export interface LoadContext {
  /** Aborted when nobody waits for the value any more. */
  readonly signal: AbortSignal;
}

/** Computes a missing value. */
export type Loader<T> = (context: LoadContext) => T | Loaded<T> | Promise<T | Loaded<T>>;

/** Computes several missing values. A key without a value stays a miss. */
export type ManyLoader<T, K extends Key = Key> = (
  keys: K[],
  context: LoadContext,
) => LoadedMany<T, K> | Promise<LoadedMany<T, K>>;

/** Values by key: a map, an object for keys that are text, or pairs. */
export type LoadedMany<T, K extends Key = Key> =
  | ReadonlyMap<K, T | Loaded<T>>
  | Readonly<Record<string, T | Loaded<T>>>
  | Iterable<readonly [K, T | Loaded<T>]>;

/** The answer of a loader in one form. */
export function asLoaded<T>(answer: T | Loaded<T>): Loaded<T> {
  return answer instanceof Loaded ? answer : new Loaded(answer, {});
}

/** Runs a loader until it ends or the signal is aborted, whichever is first. */
export function untilAborted<T>(signal: AbortSignal, run: () => T | Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    // A loader that throws at once rejects, as one that throws later.
    new Promise<T>((start) => start(run()))
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort));
  });
}
