import {
  Consistency, type Found, type GetOrFetchResponse, type Lease,
} from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import type { Codec } from './codecs.js';
import { type Duration, fromWire, span, toWire } from './durations.js';
import { changing } from './feed.js';
import { checkCaching, errorName, filled, HeldLease, unfilled, valueTags } from './lease.js';
import { asLoaded, type Loaded, type Loader, untilAborted } from './loaders.js';
import { entryId, type Params } from './names.js';
import { nearHit, nearOf, type ReadOptions, readFields, readResult, valueBytes } from './reads.js';
import {
  joinedResult, loadedResult, missResult, notStored, type Result, withError, type WriteResult,
} from './results.js';
import { type Address, addressOf, failsOpen, type Key, type Scope, spec } from './scope.js';
import { shared, sleep } from './timers.js';

/** Options of `getOrFetch`. */
export interface FetchOptions<T> extends ReadOptions<T> {
  params?: Params;
  /** How long the computed value is fresh. */
  ttl?: Duration;
  /** Tags of the computed value, in addition to those of the handle. */
  tags?: readonly string[];
  /**
   * How long to wait for the computation of another process, which is 5 s otherwise. After that the
   * loader runs, and its value is not stored.
   */
  timeout?: Duration;
  /** Compute the value even if there is a fresh one. */
  refresh?: boolean;
}

const RETRY_SHARE = 0.5;
const MIN_RETRY_MS = 10;

/** Milliseconds until a contended key is asked for again. Undefined: it is not contended. */
export function retryDelay(outcome: GetOrFetchResponse['outcome']): number | undefined {
  // An outcome that this release does not have is no reason to ask again.
  if (outcome?.$case !== 'contended') return undefined;
  const retryAfter = fromWire(outcome.value.retryAfter) ?? 0;
  const share = RETRY_SHARE + Math.random() * (1 - RETRY_SHARE);
  return Math.max(MIN_RETRY_MS, retryAfter * share);
}

const codecIds = new WeakMap<Codec<any>, number>();
let lastCodecId = 0;
let lastRefresh = 0;

function codecId(codec: Codec<any>): number {
  let id = codecIds.get(codec);
  if (id === undefined) {
    lastCodecId += 1;
    id = lastCodecId;
    codecIds.set(codec, id);
  }
  return id;
}

/** One computation: what it needs from its first caller. */
export class Fetch<T> {
  private readonly codec: Codec<T>;
  private readonly budget: number;
  private readonly fields: ReturnType<typeof readFields>;

  constructor(
    readonly scope: Scope<any>,
    readonly address: Address,
    private readonly loader: Loader<T> | undefined,
    private readonly options: FetchOptions<T> | undefined,
  ) {
    this.codec = options?.codec ?? scope.codec;
    this.budget =
      options?.timeout === undefined ? scope.core.limits.wait : span(options.timeout, 'timeout');
    this.fields = readFields(options);
    checkCaching(scope, options);
  }

  /** Equal for calls of this process that can share a computation. */
  id(): string {
    const { key, params } = this.address;
    const { refresh, maxStale, consistent } = this.options ?? {};
    if (refresh === true) {
      // Its value must not be one whose computation began before it.
      lastRefresh += 1;
      return `refresh ${lastRefresh}`;
    }
    // An outage is thrown to all callers or to none.
    const kind = `${this.loader === undefined}${consistent ?? false}${this.scope.raise}`;
    const entry = entryId(key, params);
    return `${this.scope.namespace} ${kind} ${maxStale ?? ''} ${codecId(this.codec)} ${entry}`;
  }

  /** Reads the value, or computes it. */
  async run(signal: AbortSignal): Promise<Result<T>> {
    const deadline = performance.now() + this.budget;
    let refresh = this.options?.refresh ?? false;
    for (let asked = 0; ; asked += 1) {
      const wait = Math.min(
        this.scope.core.limits.wait, Math.max(0, deadline - performance.now()),
      );
      let answer: GetOrFetchResponse;
      const near = nearOf(this.scope, this.options);
      const pending = near?.begin(this.address.key);
      try {
        answer = await this.ask(wait, refresh, pending !== undefined, signal);
      } catch (error) {
        if (pending !== undefined) near!.end(pending);
        if (!failsOpen(this.scope, error)) throw error;
        if (this.loader !== undefined) {
          return this.unstored(signal, notStored('UNAVAILABLE', true, error), error);
        }
        this.scope.count.misses += 1;
        return missResult(true, error);
      }
      const { outcome, degraded } = answer;
      const result =
        outcome?.$case === 'found' ? this.read(outcome.value, degraded) : undefined;
      if (pending !== undefined) {
        const bytes = outcome?.$case === 'found' ? valueBytes(outcome.value.value) : 0;
        near!.end(pending, entryId(this.address.key, this.address.params), result, bytes);
      }
      if (result !== undefined) {
        if (result.outcome !== 'MISS' || this.loader === undefined) return result;
        if (refresh) {
          // Another process has stored it again in a form that this one cannot read.
          return this.unstored(signal, notStored('NOT_STORED', degraded, result.error));
        }
        // A value that cannot be decoded is replaced by one that can.
        refresh = true;
        continue;
      }
      if (asked === 0) this.scope.count.misses += 1;
      if (outcome?.$case === 'lease') return this.leased(outcome.value, degraded, signal);
      const failed = answer.cause === '' ? undefined : new Error(answer.cause);
      if (this.loader === undefined) return missResult(degraded, failed);
      const delay = retryDelay(outcome);
      if (delay === undefined || performance.now() + delay >= deadline) {
        return this.unstored(signal, notStored('NOT_STORED', degraded, failed));
      }
      await sleep(delay, signal);
    }
  }

  /** The answer of a call for which the computation that it joined takes too long. */
  async alone(signal: AbortSignal): Promise<Result<T>> {
    this.scope.count.misses += 1;
    if (this.loader === undefined) return missResult(false);
    return this.unstored(signal, notStored('NOT_STORED'));
  }

  private ask(wait: number, refresh: boolean, consistent: boolean, signal: AbortSignal) {
    const { limits } = this.scope.core;
    const how = spec(this.scope, undefined, {
      idempotent: true,
      open: true,
      timeout: wait + limits.waitMargin,
    });
    return this.scope.core.caller.unary(
      methods.getOrFetch,
      {
        namespace: this.scope.namespace,
        ...this.address,
        ...this.fields,
        ...(consistent ? { consistency: Consistency.STORE } : {}),
        wait: toWire(wait),
        noCache: refresh,
        onlyIfCached: false,
        ifVersionNot: '',
        omitValue: false,
        jsonPointers: [],
      },
      { ...how, signal },
    );
  }

  private read(found: Found, degraded: boolean): Result<T> {
    const { outcome, value, entry } = found;
    return readResult(this.scope, this.codec, outcome, value, entry, degraded);
  }

  private async leased(
    lease: Lease,
    degraded: boolean,
    signal: AbortSignal,
  ): Promise<Result<T>> {
    const stale = lease.stale === undefined ? undefined : this.read(lease.stale, degraded);
    const usable = stale?.found === true ? stale : undefined;
    if (this.loader === undefined) {
      // Nothing computes the value here: a caller with a loader gets the lease.
      if (!degraded) new HeldLease(this.scope, this.address, lease).abandon();
      return usable ?? missResult(degraded);
    }
    if (degraded) {
      return this.unstored(signal, notStored('DEGRADED', true), undefined, usable);
    }
    const held = new HeldLease(this.scope, this.address, lease);
    // Another stale value is only a substitute if the loader fails.
    if (usable !== undefined && lease.staleWhileRevalidate) {
      const started = this.scope.core.background.start((ending) => this.refresh(held, ending));
      if (started) return usable;
    }
    return this.compute(held, signal, usable);
  }

  /** Computes in the background, where no caller sees an error. */
  private async refresh(held: HeldLease, signal: AbortSignal): Promise<void> {
    try {
      await this.compute(held, signal, undefined);
    } catch (error) {
      if (signal.aborted) return;
      this.scope.core.logger?.warn(
        `larder: a stale value of ${this.scope.namespace} is not refreshed: ${String(error)}`,
      );
    }
  }

  private async compute(
    held: HeldLease,
    signal: AbortSignal,
    stale: Result<T> | undefined,
  ): Promise<Result<T>> {
    let value: Loaded<T>;
    try {
      value = await this.load(signal);
    } catch (error) {
      if (signal.aborted) {
        held.abandon();
        throw error;
      }
      held.abandon(errorName(error));
      if (stale !== undefined) return withError(stale, error);
      throw error;
    }
    const stored = await this.store(held, value);
    const tags = valueTags(this.scope, this.options, value.options);
    return loadedResult(value.value, stored, tags, false);
  }

  private async store(held: HeldLease, value: Loaded<T>): Promise<WriteResult> {
    try {
      const fill = held.fill(value, this.options);
      if ('done' in fill) {
        this.scope.count.fills_refused += 1;
        if (fill.then === 'abandon') held.abandon();
        else if (fill.then === 'delete') held.delete();
        return fill.done;
      }
      // The work is done, so that the value is stored although its callers may leave.
      const how = spec(this.scope, undefined, { idempotent: false, open: false });
      const { caller } = this.scope.core;
      const answer = await changing(this.scope, (feed) => feed.keyChanged(this.address.key), () =>
        caller.unary(methods.set, fill.request, how),
      );
      return filled(this.scope, answer);
    } catch (error) {
      held.abandon();
      return unfilled(this.scope, error);
    } finally {
      held.release();
    }
  }

  private async load(signal: AbortSignal): Promise<Loaded<T>> {
    this.scope.count.loads += 1;
    try {
      const value = asLoaded(await untilAborted(signal, () => this.loader!({ signal })));
      checkCaching(this.scope, this.options, value.options);
      return value;
    } catch (error) {
      if (!signal.aborted) this.scope.count.load_errors += 1;
      throw error;
    }
  }

  /** Computes without the cache. */
  private async unstored(
    signal: AbortSignal,
    why: WriteResult,
    error?: unknown,
    stale?: Result<T>,
  ): Promise<Result<T>> {
    try {
      const value = await this.load(signal);
      const degraded = !why.stored && why.degraded;
      const tags = valueTags(this.scope, this.options, value.options);
      return loadedResult(value.value, why, tags, degraded, error);
    } catch (failure) {
      if (stale === undefined || signal.aborted) throw failure;
      return withError(stale, failure);
    }
  }
}

/** Reads a value; one that is missing is computed once by all processes. */
export async function getOrFetch<T>(
  scope: Scope<any>,
  key: Key,
  loader: Loader<T> | undefined,
  options: (FetchOptions<T> & { signal?: AbortSignal }) | undefined,
): Promise<Result<T>> {
  if (loader !== undefined && typeof loader !== 'function') {
    throw new TypeError(`loader: expected a function, got ${typeof loader}`);
  }
  scope.core.caller.checkOpen();
  const address = addressOf(key, options?.params);
  if (scope.near !== undefined && options?.refresh !== true) {
    if (options !== undefined) checkCaching(scope, options);
    const held = nearOf(scope, options)?.get(entryId(address.key, address.params));
    if (held !== undefined) return nearHit(scope, held);
  }
  const fetch = new Fetch(scope, address, loader, options);
  const signal = shared(options?.signal);
  const answer = await scope.core.flights.run<T>({
    id: fetch.id(),
    namespace: scope.namespace,
    key: address.key,
    signal,
    timeout: options?.timeout === undefined ? undefined : span(options.timeout, 'timeout'),
    compute: (ending) => fetch.run(ending),
  });
  if (answer === undefined) return fetch.alone(signal ?? new AbortController().signal);
  if (!answer.joined) return answer.result;
  if (answer.result.tier === 'loader') scope.count.joined += 1;
  return joinedResult(answer.result);
}
