import type {
  BatchGetOrFetchResponse, BatchGetOrFetchResult, GetOrFetchResponse, Lease,
} from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import { listOf } from './checks.js';
import type { Codec } from './codecs.js';
import { type Duration, fromWire, span, toWire } from './durations.js';
import { larderError } from './errors.js';
import { retryDelay } from './fetching.js';
import { fillMany } from './fill-many.js';
import { checkCaching, errorName, HeldLease, valueTags } from './lease.js';
import { asLoaded, type Loaded, type ManyLoader, untilAborted } from './loaders.js';
import { type ReadOptions, readFields, readResult } from './reads.js';
import {
  loadedResult, missResult, notStored, type Result, withError, type WriteResult,
} from './results.js';
import {
  type Address, addressOf, BATCH_KEYS, chunks, failsOpen, type Key, type Scope, spec,
} from './scope.js';
import { sleep } from './timers.js';

/** Options of `getOrFetchMany`. */
export interface FetchManyOptions<T> extends ReadOptions<T> {
  /** How long the computed values are fresh. */
  ttl?: Duration;
  /** Tags of the computed values, in addition to those of the handle. */
  tags?: readonly string[];
  /** How long to wait for computations of other processes: 5 s. */
  timeout?: Duration;
  /** Compute all values. */
  refresh?: boolean;
}

/** A key that is missing, and how its value is stored once it is computed. */
interface Missing<T, K> {
  key: K;
  address: Address;
  lease: HeldLease | undefined;
  /** Why the value is not stored, for a key without a lease. */
  why: WriteResult | undefined;
  stale: Result<T> | undefined;
  /** Whether the stale value is the answer while the new one is computed. */
  meanwhile: boolean;
}

function answersOf(messages: BatchGetOrFetchResponse[]): BatchGetOrFetchResult[] {
  return messages.flatMap(({ results }) => results);
}

/** One call of `getOrFetchMany`. */
class FetchMany<T, K extends Key> {
  private readonly codec: Codec<T>;
  private readonly results = new Map<K, Result<T>>();
  private readonly undecodable: [K, Address][] = [];
  private refresh: boolean;
  private readonly deadline: number;
  private readonly fields: ReturnType<typeof readFields>;

  constructor(
    private readonly scope: Scope<any>,
    private readonly loader: ManyLoader<T, K> | undefined,
    private readonly options: FetchManyOptions<T> | undefined,
    private readonly signal: AbortSignal,
  ) {
    this.codec = options?.codec ?? scope.codec;
    const budget =
      options?.timeout === undefined ? scope.core.limits.wait : span(options.timeout, 'timeout');
    this.deadline = performance.now() + budget;
    this.fields = readFields(options);
    this.refresh = options?.refresh ?? false;
    checkCaching(scope, options);
  }

  async run(keys: K[]): Promise<Map<K, Result<T>>> {
    const wanted = keys.map((key): [K, Address] => [key, addressOf(key)]);
    for (const part of chunks(wanted, BATCH_KEYS)) await this.part(part);
    if (this.undecodable.length > 0) {
      // They are computed anew. Values of others that cannot be decoded stay then.
      this.refresh = true;
      for (const part of chunks(this.undecodable, BATCH_KEYS)) await this.part(part, true);
    }
    // The map has the order of the keys, not that of the answers.
    return new Map(keys.map((key) => [key, this.results.get(key)!]));
  }

  /** Reads keys until all have results. They may be `counted` as misses before. */
  private async part(all: [K, Address][], counted = false): Promise<void> {
    let part = all;
    let first = !counted;
    while (part.length > 0) {
      const { missing, contended, retryAfter } = await this.ask(part, first);
      first = false;
      await this.load(missing);
      if (contended.length === 0) return;
      if (performance.now() + retryAfter >= this.deadline) {
        if (this.loader === undefined) {
          for (const [key] of contended) this.results.set(key, missResult(false));
        } else {
          await this.load(contended.map(([key, address]) => unleased(key, address, 'NOT_STORED')));
        }
        return;
      }
      await sleep(retryAfter, this.signal);
      part = contended;
    }
  }

  /** Asks the server once, and keeps what it answers. */
  private async ask(part: [K, Address][], first: boolean) {
    const { limits, caller } = this.scope.core;
    const wait = Math.min(limits.wait, Math.max(0, this.deadline - performance.now()));
    const missing: Missing<T, K>[] = [];
    const contended: [K, Address][] = [];
    let retryAfter = Number.POSITIVE_INFINITY;
    const request = {
      keys: part.map(([, address]) => ({ namespace: this.scope.namespace, ...address })),
      ...this.fields,
      wait: toWire(wait),
      noCache: this.refresh,
      onlyIfCached: false,
      ifVersionsNot: [],
      omitValue: false,
      jsonPointers: [],
    };
    const how = spec(this.scope, undefined, {
      idempotent: true, open: true, timeout: wait + limits.waitMargin,
    });
    const messages: BatchGetOrFetchResponse[] = [];
    try {
      await caller.collect(
        methods.batchGetOrFetch, request, { ...how, signal: this.signal }, messages,
      );
    } catch (error) {
      this.abandon(part, answersOf(messages));
      if (!failsOpen(this.scope, error)) throw error;
      for (const [key, address] of part) {
        this.away(key, address, error, missing);
      }
      return { missing, contended, retryAfter: 0 };
    }
    const answers = answersOf(messages);
    try {
      for (const [index, [key, address]] of part.entries()) {
        const result = answers[index]?.result;
        if (result?.$case === 'error') {
          const { reason, message, retryAfter: after } = result.value;
          const facts = { reason, retryAfter: fromWire(after) };
          const error = larderError('UNAVAILABLE', message, facts);
          if (!failsOpen(this.scope, error)) throw error;
          this.away(key, address, error, missing);
          continue;
        }
        const answer = result?.value;
        if (answer?.outcome?.$case === 'found') {
          this.found(key, address, answer, missing);
          continue;
        }
        if (first) this.scope.count.misses += 1;
        if (answer?.outcome?.$case === 'lease') {
          this.leased(key, address, answer.outcome.value, answer.degraded, missing);
        } else {
          contended.push([key, address]);
          const delay = retryDelay(answer?.outcome) ?? Number.POSITIVE_INFINITY;
          retryAfter = Math.min(retryAfter, delay);
        }
      }
    } catch (error) {
      for (const { lease } of missing) lease?.abandon();
      throw error;
    }
    return { missing, contended, retryAfter };
  }

  /** Gives up the leases of a stream that has failed: other processes need not wait for them. */
  private abandon(part: [K, Address][], answers: BatchGetOrFetchResult[]): void {
    for (const [index, [, address]] of part.entries()) {
      const result = answers[index]?.result;
      if (result === undefined || result.$case === 'error' || result.value.degraded) continue;
      const { outcome } = result.value;
      if (outcome?.$case === 'lease') new HeldLease(this.scope, address, outcome.value).abandon();
    }
  }

  private away(key: K, address: Address, error: unknown, missing: Missing<T, K>[]): void {
    if (this.loader === undefined) {
      this.scope.count.misses += 1;
      this.results.set(key, missResult(true, error));
    } else {
      missing.push(unleased(key, address, 'UNAVAILABLE', error));
    }
  }

  private found(
    key: K,
    address: Address,
    answer: GetOrFetchResponse,
    missing: Missing<T, K>[],
  ): void {
    if (answer.outcome?.$case !== 'found') return;
    const { outcome, value, entry } = answer.outcome.value;
    const result = readResult(this.scope, this.codec, outcome, value, entry, answer.degraded);
    if (result.outcome === 'MISS' && this.loader !== undefined) {
      if (this.refresh) missing.push(unleased(key, address, 'NOT_STORED', result.error));
      else this.undecodable.push([key, address]);
    } else {
      this.results.set(key, result);
    }
  }

  private leased(
    key: K,
    address: Address,
    lease: Lease,
    degraded: boolean,
    missing: Missing<T, K>[],
  ): void {
    let stale: Result<T> | undefined;
    if (lease.stale !== undefined) {
      const { outcome, value, entry } = lease.stale;
      const read = readResult(this.scope, this.codec, outcome, value, entry, degraded);
      if (read.found) stale = read;
    }
    const held = degraded ? undefined : new HeldLease(this.scope, address, lease);
    if (this.loader === undefined) {
      held?.abandon();
      this.results.set(key, stale ?? missResult(degraded));
    } else {
      const why = degraded ? notStored('DEGRADED', true) : undefined;
      const meanwhile = stale !== undefined && lease.staleWhileRevalidate && !degraded;
      missing.push({ key, address, lease: held, why, stale, meanwhile });
    }
  }

  /** Computes what is missing: stale values in the background, if there is room for that. */
  private async load(missing: Missing<T, K>[]): Promise<void> {
    const now = missing.filter(({ meanwhile }) => !meanwhile);
    const later = missing.filter(({ meanwhile }) => meanwhile);
    for (const { key, stale } of later) this.results.set(key, stale!);
    if (later.length > 0) {
      const started = this.scope.core.background.start(async (signal) => {
        try {
          await this.compute(later, signal, new Map());
        } catch (error) {
          if (signal.aborted) return;
          this.scope.core.logger?.warn(
            `larder: stale values of ${this.scope.namespace} are not refreshed: ${String(error)}`,
          );
        }
      });
      if (!started) now.push(...later);
    }
    if (now.length > 0) await this.compute(now, this.signal, this.results);
  }

  private async compute(
    missing: Missing<T, K>[],
    signal: AbortSignal,
    results: Map<K, Result<T>>,
  ): Promise<void> {
    const { count } = this.scope;
    count.loads += 1;
    let values: Map<K, Loaded<T>>;
    try {
      const keys = missing.map(({ key }) => key);
      values = byKey(await untilAborted(signal, async () => this.loader!(keys, { signal })), keys);
      for (const { options } of values.values()) checkCaching(this.scope, this.options, options);
    } catch (error) {
      const reason = signal.aborted ? undefined : errorName(error);
      for (const { lease } of missing) lease?.abandon(reason);
      if (signal.aborted) throw error;
      count.load_errors += 1;
      if (missing.some(({ stale }) => stale === undefined)) throw error;
      for (const { key, stale } of missing) results.set(key, withError(stale!, error));
      return;
    }
    const stored = await fillMany(this.scope, this.options, missing, values);
    for (const { key, why, stale } of missing) {
      const value = values.get(key);
      if (value === undefined) {
        results.set(key, stale ?? missResult(false));
        continue;
      }
      const result = why ?? stored.get(key)!;
      const failure = result.stored ? undefined : result.error;
      const degraded = !result.stored && result.degraded;
      const error = why === undefined ? undefined : failure;
      const tags = valueTags(this.scope, this.options, value.options);
      results.set(key, loadedResult(value.value, result, tags, degraded, error));
    }
  }
}

function unleased<T, K>(
  key: K,
  address: Address,
  reason: 'NOT_STORED' | 'UNAVAILABLE',
  error?: unknown,
): Missing<T, K> {
  const why = notStored(reason, reason === 'UNAVAILABLE', error);
  return { key, address, lease: undefined, why, stale: undefined, meanwhile: false };
}

/** The values of a loader by the keys that it was given. */
function byKey<T, K extends Key>(
  answer: Awaited<ReturnType<ManyLoader<T, K>>>,
  keys: K[],
): Map<K, Loaded<T>> {
  if (answer === null || typeof answer !== 'object') {
    throw new TypeError('loader: expected a map, an object or pairs of keys and values');
  }
  const values = new Map<K, Loaded<T>>();
  if (Symbol.iterator in answer) {
    for (const [key, value] of answer as Iterable<readonly [K, T | Loaded<T>]>) {
      values.set(key, asLoaded(value));
    }
    return values;
  }
  const members = answer as Readonly<Record<string, T | Loaded<T>>>;
  for (const key of keys) {
    if (typeof key === 'string' && Object.hasOwn(members, key)) {
      values.set(key, asLoaded(members[key]!));
    }
  }
  return values;
}

/** Reads values; those that are missing are computed together, each once by all processes. */
export async function getOrFetchMany<T, K extends Key>(
  scope: Scope<any>,
  keys: Iterable<K>,
  loader: ManyLoader<T, K> | undefined,
  options: FetchManyOptions<T> | undefined,
): Promise<Map<K, Result<T>>> {
  if (loader !== undefined && typeof loader !== 'function') {
    throw new TypeError(`loader: expected a function, got ${typeof loader}`);
  }
  options?.signal?.throwIfAborted();
  const { caller, running, background } = scope.core;
  caller.checkOpen();
  const ending = running.open(options?.signal);
  try {
    const fetch = new FetchMany(scope, loader, options, ending.signal);
    const results = fetch.run([...new Set(listOf(keys, 'keys'))]);
    background.track(results);
    return await results;
  } finally {
    running.end(ending);
  }
}
