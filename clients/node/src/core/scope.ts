import type { Caller, Logger } from './caller.js';
import type { Codec } from './codecs.js';
import type { Counters, Counts } from './counters.js';
import type { Duration } from './durations.js';
import { milliseconds, positive } from './durations.js';
import { isOutage } from './errors.js';
import type { Feeds } from './feed.js';
import type { Background, Flights } from './flights.js';
import { encodeKey, encodeParams, type Params } from './names.js';
import type { NearCache } from './near-cache.js';
import type { Limits } from './options.js';
import type { Running } from './running.js';
import { shared } from './timers.js';

/** What all handles of a client share. */
export interface Core {
  readonly caller: Caller;
  readonly counters: Counters;
  readonly limits: Limits;
  readonly flights: Flights;
  readonly background: Background;
  readonly running: Running;
  readonly feeds: Feeds;
  readonly logger: Logger | undefined;
}

/** A handle's own settings, with what it needs to make calls. */
export interface Scope<T> {
  readonly core: Core;
  /** Name as the server has it. */
  readonly namespace: string;
  readonly codec: Codec<T>;
  /** Milliseconds; undefined: the server's default. */
  readonly ttl: number | undefined;
  readonly tags: readonly string[];
  /** Whether outages are thrown everywhere. */
  readonly raise: boolean;
  readonly count: Counts;
  /** The near cache of the handle; undefined: none. */
  near: NearCache<T> | undefined;
}

/** A key, or a key with its params. */
export type Key = string | { readonly key: string; readonly params?: Params };

/** Options of every call. */
export interface CallOptions {
  /** Cancels the call, which then rejects with the reason of the signal. */
  signal?: AbortSignal;
  /** Time limit of the call, in place of the client's. */
  timeout?: Duration;
}

/** An entry as the server addresses it. */
export interface Address {
  key: string;
  params: Record<string, string>;
}

/** The address of a key. */
export function addressOf(key: Key, params?: Params): Address {
  if (typeof key === 'object' && key !== null) {
    return { key: encodeKey(key.key), params: encodeParams(key.params ?? params) };
  }
  return { key: encodeKey(key), params: encodeParams(params) };
}

/** How a call of a handle is made. */
export function spec(
  scope: Scope<any>,
  options: CallOptions | undefined,
  kind: { idempotent: boolean; open: boolean; timeout?: number },
) {
  return {
    timeout:
      options?.timeout === undefined
        ? (kind.timeout ?? scope.core.limits.call)
        : positive(options.timeout, 'timeout'),
    signal: shared(options?.signal),
    namespace: scope.namespace,
    count: scope.count,
    idempotent: kind.idempotent,
    open: kind.open && !scope.raise,
  };
}

/** Whether a call goes on without the cache after this error. */
export function failsOpen(scope: Scope<any>, error: unknown): boolean {
  if (scope.raise || !isOutage(error)) return false;
  scope.count.fail_open += 1;
  return true;
}

/** The TTL of a write: its own, else the handle's. Undefined: the server's. */
export function ttlOf(scope: Scope<any>, ttl: Duration | undefined): number | undefined {
  return ttl === undefined ? scope.ttl : milliseconds(ttl, 'ttl');
}

/** Parts of at most `size` items. */
export function* chunks<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}

/** The most keys of a batch that the server takes. */
export const BATCH_KEYS = 1000;
