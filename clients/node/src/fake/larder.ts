import { type Duration, span } from '../core/durations.js';
import { type Code, LarderError, larderError } from '../core/errors.js';
import { sleep } from '../core/timers.js';
import * as wire from '../gen/larder/v1/cache_service.js';
import type { Method } from '../transport/methods.js';
import type { Attempt, Transport } from '../transport/transport.js';
import * as entries from './entries.js';
import { batchGetOrFetch, getOrFetch } from './fetches.js';
import { FakeLeases, type Lost } from './leases.js';
import * as namespaces from './namespaces.js';
import type { FakeEvent } from './rules.js';
import { type FakeNamespace, FakeStore, type Place, versioned } from './store.js';
import { FakeWatches } from './watches.js';

/** Options of a fake. */
export interface FakeLarderOptions {
  /** Settings by namespace, as the server's configuration has them. */
  namespaces?: Record<string, FakeNamespace>;
  /** Rules of the events of the business, by the name of the event. */
  events?: Record<string, FakeEvent>;
}

/** A failure to switch on. */
export interface FakeFailure {
  /** `UNAVAILABLE`. */
  code?: Code;
  reason?: string;
  /** Calls that fail, such as `Get`; all by default. */
  methods?: readonly string[];
  /** How many calls fail; all until `recover` by default. */
  times?: number;
  /** Milliseconds before the failure; a longer one than the deadline ends with that. */
  after?: number;
}

/** Counters that the fake keeps per namespace. */
type Counted = Pick<
  wire.Counters,
  | 'hits' | 'misses' | 'stale' | 'negative' | 'sets' | 'deletes' | 'invalidations'
  | 'leasesGranted' | 'leasesRefused' | 'contended'
>;

/**
 * Larder in this process, for unit tests: `new Client({ transport: new FakeLarder().transport })`.
 * It has a clock to advance and failures to switch on. Several clients can share one.
 */
export class FakeLarder {
  /** @internal */
  readonly store: FakeStore;
  /** @internal */
  readonly leases: FakeLeases;
  /** @internal */
  readonly events: NonNullable<FakeLarderOptions['events']>;
  /** Whether the store is away: the server answers, with `degraded`. */
  degraded = false;
  /** Milliseconds that each call takes. */
  delay = 0;
  private readonly watches = new FakeWatches();
  private readonly failures: { failure: FakeFailure; left: number }[] = [];
  private readonly counters = new Map<string, Counted>();
  private readonly made: { method: string; request: unknown }[] = [];

  constructor(options: FakeLarderOptions = {}) {
    this.store = new FakeStore(options.namespaces ?? {});
    this.leases = new FakeLeases(this.store);
    this.events = options.events ?? {};
  }

  /** For `new Client({ transport })`. */
  get transport(): Transport {
    return new FakeTransport(this);
  }

  /** The calls that have reached the server, by the names of the service. */
  get calls(): readonly { readonly method: string; readonly request: unknown }[] {
    return this.made;
  }

  /** Lets time pass for TTLs and leases. */
  advance(time: Duration): void {
    this.store.advance(span(time, 'time'));
    this.leases.wake();
  }

  /** Lets calls fail until `recover`. */
  fail(failure: FakeFailure = {}): void {
    this.failures.push({ failure, left: failure.times ?? Number.POSITIVE_INFINITY });
  }

  /** Ends all failures. */
  recover(): void {
    this.failures.length = 0;
    this.degraded = false;
    this.delay = 0;
  }

  /** Breaks the streams of Watch, or sends Reset on them. */
  disturbWatches(how: 'break' | 'reset'): void {
    this.watches.disturb(how);
  }

  /** Removes all entries. */
  clear(): void {
    this.store.entries.clear();
    this.watches.disturb('reset');
  }

  /** @internal */
  count(namespace: string): Counted {
    let counted = this.counters.get(namespace);
    if (counted === undefined) {
      counted = {
        hits: 0n, misses: 0n, stale: 0n, negative: 0n, sets: 0n, deletes: 0n, invalidations: 0n,
        leasesGranted: 0n, leasesRefused: 0n, contended: 0n,
      };
      this.counters.set(namespace, counted);
    }
    return counted;
  }

  /** @internal An entry was written or removed. */
  changed(place: Place, why: Lost): void {
    const { namespace, key } = place;
    this.leases.void(place, why);
    const value = { namespace, keys: [{ key, paramsDigest: '' }] };
    this.announce(namespace, { $case: 'keysChanged', value });
  }

  /** @internal */
  announce(namespace: string, event: NonNullable<wire.WatchResponse['event']>): void {
    this.leases.wake();
    this.watches.announce(namespace, event);
  }

  /** @internal Fails if that is switched on; waits for the delay. */
  async enter(method: string, request: unknown, attempt: Attempt): Promise<void> {
    this.made.push({ method, request });
    if (this.made.length > MAX_CALLS) this.made.shift();
    const found = this.failures.find(
      ({ failure, left }) => left > 0 && (failure.methods?.includes(method) ?? true),
    );
    const wait = Math.max(this.delay, found?.failure.after ?? 0);
    if (wait > 0) await sleep(wait, attempt.signal);
    if (found === undefined) return;
    found.left -= 1;
    const { code = 'UNAVAILABLE', reason = '' } = found.failure;
    throw larderError(code, `the fake fails as it was told`, { reason });
  }

  /** @internal */
  handle(method: string, request: any, signal: AbortSignal | undefined): unknown {
    switch (method) {
      case 'Get': return entries.read(this, request);
      case 'Set':
        entries.checkSet(this, request);
        return entries.write(this, request);
      case 'Delete': return entries.remove(this, request);
      case 'Touch': return entries.touch(this, request);
      case 'Increment': return entries.increment(this, request);
      case 'Patch': return entries.patch(this, request);
      case 'Renew': return entries.renew(this, request);
      case 'Abandon':
        this.leases.abandon(request, request.leaseToken, request.reason, request.passOn);
        return {};
      case 'GetOrFetch': return getOrFetch(this, request, signal);
      case 'BatchGetOrFetch': return batchGetOrFetch(this, request, signal);
      case 'BatchGet': return this.batchGet(request);
      case 'BatchSet': {
        const { items } = request as wire.BatchSetRequest;
        items.forEach((item, index) => entries.checkSet(this, item, `items[${index}].`));
        return { results: items.map((item) => entries.write(this, item)) };
      }
      case 'BatchDelete': return this.batchDelete(request);
      case 'Invalidate': return namespaces.invalidate(this, request);
      case 'InvalidateNamespace':
        namespaces.invalidateNamespace(this, request.namespace);
        return { durability: wire.Durability.APPLIED };
      case 'ListKeys': return namespaces.listKeys(this, request);
      case 'CountKeys': return namespaces.countKeys(this, request);
      case 'Stats': return this.stats(request);
      default: throw larderError('UNIMPLEMENTED', `the fake does not have ${method}`);
    }
  }

  private batchGet(request: wire.BatchGetRequest): wire.BatchGetResponse {
    const { keys, ifVersionsNot, ...shared } = request;
    const results = keys.map((key, index) => {
      const ifVersionNot = ifVersionsNot[index] ?? '';
      const { degraded: _, ...read } = entries.read(this, { ...shared, ...key, ifVersionNot });
      return { ...read, notJson: false };
    });
    return { results, degraded: this.degraded };
  }

  private batchDelete(request: wire.BatchDeleteRequest): wire.BatchDeleteResponse {
    const { keys, holdOff } = request;
    const results = keys.map((key, index) =>
      entries.remove(this, {
        ...key,
        holdOff,
        ifVersion: request.ifVersions[index] || undefined,
        returnValue: false,
        requiredDurability: wire.Durability.UNSPECIFIED,
      }),
    );
    return {
      existed: results.map(({ existed }) => existed),
      deleted: results.map(({ deleted }) => deleted),
      durabilities: results.map(({ durability }) => durability),
    };
  }

  private stats(request: wire.StatsRequest): wire.StatsResponse {
    const names = request.namespaces.length > 0 ? request.namespaces : [...this.counters.keys()];
    return {
      totals: undefined,
      namespaces: names
        .filter((name) => this.counters.has(name))
        .map((namespace) => ({
          namespace,
          counted: {
            total: { ...wire.Counters.fromPartial({}), ...this.counters.get(namespace) },
            lastHour: undefined,
            lastDay: undefined,
          },
          size: undefined,
        })),
      store: wire.StoreStats.fromPartial({ kind: 'memory', reachable: !this.degraded }),
      degraded: this.degraded,
      collectedAt: new Date(),
      nextPageToken: '',
      replicas: [],
      countingSince: undefined,
    };
  }

  /** @internal */
  watch(request: wire.WatchRequest, attempt: Attempt): AsyncGenerator<wire.WatchResponse, void> {
    return this.watches.open(request, attempt.signal);
  }
}

const MAX_CALLS = 10_000;

class FakeTransport implements Transport {
  readonly renewsToken = false;
  private closed = false;

  constructor(private readonly fake: FakeLarder) {}

  async unary<Q, R>(method: Method<Q, R>, request: Q, attempt: Attempt): Promise<R> {
    return this.within(attempt, async (bounded) => {
      await this.fake.enter(method.name, request, bounded);
      const named = versioned(request, attempt.headers?.['larder-schema-version']);
      return this.fake.handle(method.name, named, bounded.signal) as R;
    });
  }

  /** Ends a call at its deadline, and when its caller cancels it. */
  private async within<R>(attempt: Attempt, call: (bounded: Attempt) => Promise<R>): Promise<R> {
    if (this.closed) throw larderError('CANCELLED', 'the client is closed');
    attempt.signal?.throwIfAborted();
    const ending = new AbortController();
    const abort = () => ending.abort(attempt.signal!.reason);
    attempt.signal?.addEventListener('abort', abort);
    const deadline = larderError('DEADLINE_EXCEEDED', 'the deadline is over');
    const timer =
      attempt.timeout === undefined
        ? undefined
        : setTimeout(() => ending.abort(deadline), attempt.timeout);
    try {
      return await Promise.race([
        call({ ...attempt, signal: ending.signal }),
        new Promise<never>((_, reject) => {
          ending.signal.addEventListener('abort', () => reject(ending.signal.reason));
        }),
      ]);
    } finally {
      clearTimeout(timer);
      attempt.signal?.removeEventListener('abort', abort);
    }
  }

  async *stream<Q, R>(
    method: Method<Q, R>,
    request: Q,
    attempt: Attempt,
  ): AsyncGenerator<R, void> {
    if (method.name === 'Watch') {
      await this.fake.enter(method.name, request, attempt);
      yield* this.fake.watch(request as never, attempt) as AsyncGenerator<R, void>;
    } else {
      yield await this.unary(method, request, attempt);
    }
  }

  feed<Q, R>(method: Method<Q, R>, request: Q, attempt: Attempt): AsyncGenerator<R, void> {
    return this.stream(method, request, attempt);
  }

  async connect(): Promise<void> {
    const attempt = { timeout: undefined, signal: undefined, headers: undefined };
    try {
      await this.fake.enter('connect', undefined, attempt);
    } catch (error) {
      if (!(error instanceof LarderError)) throw error;
      throw larderError('UNAVAILABLE', 'no connection', { cause: error });
    }
  }

  close(): void {
    this.closed = true;
  }
}

