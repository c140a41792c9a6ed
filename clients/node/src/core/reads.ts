import {
  Consistency,
  type EntryInfo,
  Outcome,
  type Value,
} from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import { listOf } from './checks.js';
import { type Codec, fromValue } from './codecs.js';
import { type Duration, positive, spanToWire, toWire } from './durations.js';
import { entryId, type Params } from './names.js';
import type { NearCache } from './near-cache.js';
import { type Hit, missResult, negativeResult, type Result, valueResult } from './results.js';
import {
  type Address,
  addressOf,
  BATCH_KEYS,
  type CallOptions,
  chunks,
  failsOpen,
  type Key,
  type Scope,
  spec,
} from './scope.js';

/** Options of reads. */
export interface ReadOptions<T> extends CallOptions {
  /** Longest time past the TTL for which a value may be STALE; 0: none. */
  maxStale?: Duration;
  /** Ask the store, so that the read sees every write that was acknowledged before. */
  consistent?: boolean;
  /** Sliding expiration: a hit is fresh for at least this long from now. */
  touch?: Duration;
  /** Reads and writes the value in place of the handle's codec. */
  codec?: Codec<T>;
}

/** Options of a read of one key. */
export interface GetOptions<T> extends ReadOptions<T> {
  /** Makes several entries of one key. */
  params?: Params;
}

const READ = { idempotent: true, open: true } as const;

/** The fields that all requests of reads have. */
export function readFields(options: ReadOptions<any> | undefined) {
  return {
    maxStale: spanToWire(options?.maxStale, 'maxStale'),
    consistency:
      options?.consistent === true ? Consistency.STORE : (Consistency.UNSPECIFIED as Consistency),
    touch:
      options?.touch === undefined ? undefined : toWire(positive(options.touch, 'touch')),
  };
}

/** The result of a read that the server has answered, with its counters. */
export function readResult<T>(
  scope: Scope<any>,
  codec: Codec<T>,
  outcome: Outcome,
  value: Value | undefined,
  entry: EntryInfo | undefined,
  degraded: boolean,
): Result<T> {
  const { count } = scope;
  if (outcome === Outcome.HIT || outcome === Outcome.STALE) {
    let decoded: T;
    try {
      decoded = codec.decode(fromValue(value));
    } catch (error) {
      count.undecodable += 1;
      count.misses += 1;
      return missResult(degraded, error);
    }
    if (outcome === Outcome.HIT) {
      count.hits += 1;
      return valueResult('HIT', decoded, entry, degraded);
    }
    count.stale += 1;
    return valueResult('STALE', decoded, entry, degraded);
  }
  if (outcome === Outcome.NEGATIVE) {
    count.negatives += 1;
    return negativeResult(entry, degraded);
  }
  count.misses += 1;
  return missResult(degraded);
}

/** A miss in place of an outage; throws everything else. */
export function missAtOutage(scope: Scope<any>, error: unknown): Result<never> {
  if (!failsOpen(scope, error)) throw error;
  scope.count.misses += 1;
  return missResult(true, error);
}

/** Reads one entry. */
export async function get<T>(
  scope: Scope<any>,
  key: Key,
  options: GetOptions<T> | undefined,
): Promise<Result<T>> {
  const address = addressOf(key, options?.params);
  const near = nearOf(scope, options);
  const id = near === undefined ? '' : entryId(address.key, address.params);
  const held = near?.get(id);
  if (held !== undefined) return nearHit(scope, held);
  const fields = readFields(options);
  const pending = near?.begin(address.key);
  if (pending !== undefined) fields.consistency = Consistency.STORE;
  const request = {
    namespace: scope.namespace,
    key: address.key,
    params: address.params,
    ...fields,
    ifVersionNot: '',
    omitValue: false,
    jsonPointers: [],
  };
  let result: Result<T> | undefined;
  let bytes = 0;
  try {
    const { outcome, value, entry, degraded } = await scope.core.caller.unary(
      methods.get, request, spec(scope, options, READ),
    );
    bytes = valueBytes(value);
    result = readResult(scope, options?.codec ?? scope.codec, outcome, value, entry, degraded);
    return result;
  } catch (error) {
    return missAtOutage(scope, error);
  } finally {
    if (pending !== undefined) near!.end(pending, id, result, bytes);
  }
}

/** The near cache that a read may use; undefined: none. */
export function nearOf(
  scope: Scope<any>,
  options: ReadOptions<any> | undefined,
): NearCache<any> | undefined {
  if (scope.near === undefined || options === undefined) return scope.near;
  const { consistent, codec, touch } = options;
  return consistent === true || codec !== undefined || touch !== undefined ? undefined : scope.near;
}

/** Counts a hit of the near cache. */
export function nearHit<T>(scope: Scope<any>, hit: Hit<T>): Hit<T> {
  scope.count.hits += 1;
  scope.count.near_hits += 1;
  return hit;
}

/** Bytes that a value takes in memory, at least. */
export function valueBytes(value: Value | undefined): number {
  const kind = value?.kind;
  if (kind === undefined) return 0;
  return kind.$case === 'data' ? kind.value.length : 2 * kind.value.length;
}

/** Whether `get` would find a value. The value is not transferred. */
export async function has(
  scope: Scope<any>,
  key: Key,
  options: GetOptions<any> | undefined,
): Promise<boolean> {
  const request = {
    namespace: scope.namespace,
    ...addressOf(key, options?.params),
    ...readFields(options),
    ifVersionNot: '',
    omitValue: true,
    jsonPointers: [],
  };
  try {
    const answer = await scope.core.caller.unary(
      methods.get, request, spec(scope, options, READ),
    );
    return answer.outcome === Outcome.HIT || answer.outcome === Outcome.STALE;
  } catch (error) {
    if (!failsOpen(scope, error)) throw error;
    return false;
  }
}

/** Reads several entries; the map has an element for each of `keys`. */
export async function getMany<T, K extends Key>(
  scope: Scope<any>,
  keys: Iterable<K>,
  options: ReadOptions<T> | undefined,
): Promise<Map<K, Result<T>>> {
  const results = new Map<K, Result<T>>();
  const near = nearOf(scope, options);
  const wanted: [K, Address][] = [];
  for (const key of listOf(keys, 'keys')) {
    const address = addressOf(key);
    const held = near?.get(entryId(address.key, address.params));
    // A key without a result keeps its place in the order of the map.
    results.set(key, (held === undefined ? undefined : nearHit(scope, held)) as Result<T>);
    if (held === undefined) wanted.push([key, address]);
  }
  for (const part of chunks(wanted, BATCH_KEYS)) {
    await getPart(scope, part, options, results, near);
  }
  return results;
}

async function getPart<T, K>(
  scope: Scope<any>,
  part: [K, Address][],
  options: ReadOptions<T> | undefined,
  results: Map<K, Result<T>>,
  near: NearCache<any> | undefined,
): Promise<void> {
  const codec = options?.codec ?? scope.codec;
  const fields = readFields(options);
  const pending = near && part.map(([, address]) => near.begin(address.key));
  if (pending?.[0] !== undefined) fields.consistency = Consistency.STORE;
  const request = {
    keys: part.map(([, address]) => ({ namespace: scope.namespace, ...address })),
    ...fields,
    ifVersionsNot: [],
    omitValue: false,
    jsonPointers: [],
  };
  try {
    const messages = await scope.core.caller.collect(
      methods.batchGet, request, spec(scope, options, READ),
    );
    let index = 0;
    for (const { results: read, degraded } of messages) {
      for (const { outcome, value, entry } of read) {
        // Of a message, the keys that missed may be those that the store did not answer for.
        const away = degraded && outcome === Outcome.MISS;
        const [key, address] = part[index]!;
        const result = readResult(scope, codec, outcome, value, entry, away);
        results.set(key, result);
        const begun = pending?.[index];
        if (begun !== undefined) {
          near!.end(begun, entryId(address.key, address.params), result, valueBytes(value));
        }
        index += 1;
      }
    }
  } catch (error) {
    for (const [key] of part) results.set(key, missAtOutage(scope, error));
  } finally {
    for (const begun of pending ?? []) if (begun !== undefined) near!.end(begun);
  }
}
