import { EntryInfo, type Tier as WireTier } from '../gen/larder/v1/cache_service.js';
import { fromWire } from './durations.js';

/**
 * Where a value comes from: `near` (the near cache of the server), `store`, `origin`, `client` (the
 * near cache of this process), `loader` (computed by this call or one that it joined).
 */
export type Tier = 'near' | 'store' | 'origin' | 'client' | 'loader';

/** Facts that every read has. */
export interface ReadFacts {
  /** Whether there is a value: the outcome is HIT or STALE. */
  readonly found: boolean;
  /** Version of the value, for `ifVersion`; empty if it is not in the store. */
  readonly version: string;
  /** Milliseconds since the value was written. */
  readonly age: number | undefined;
  /** Milliseconds until the value becomes stale. */
  readonly ttlRemaining: number | undefined;
  readonly tags: readonly string[];
  readonly tier: Tier | undefined;
  /** The cache or its store was away, slow or full. */
  readonly degraded: boolean;
  /** Why there is no value, or no fresh one. */
  readonly error: unknown;
  /** Result of storing a value that was computed; undefined if none was. */
  readonly stored: WriteResult | undefined;
  /** Whether the value was computed for another call of this process that this one joined. */
  readonly joined: boolean;
}

/** A fresh value. */
export interface Hit<T> extends ReadFacts {
  readonly outcome: 'HIT';
  readonly found: true;
  readonly value: T;
}
/** A value past its TTL, within the staleness window. */
export interface Stale<T> extends ReadFacts {
  readonly outcome: 'STALE';
  readonly found: true;
  readonly value: T;
}
/** The cached absence of a value. */
export interface Negative extends ReadFacts {
  readonly outcome: 'NEGATIVE';
  readonly found: false;
  readonly value: null;
}
/** No value. */
export interface Miss extends ReadFacts {
  readonly outcome: 'MISS';
  readonly found: false;
  readonly value: null;
}
/** Result of a read. */
export type Result<T> = Hit<T> | Stale<T> | Negative | Miss;

/** Why a value is not stored. */
export type NotStoredReason =
  | 'CONDITION_NOT_MET'
  | 'LEASE_LOST'
  | 'INVALIDATED'
  | 'SUPERSEDED'
  | 'NOT_STORED'
  | 'EXPIRED'
  | 'NOT_ENCODABLE'
  | 'DEGRADED'
  | 'UNAVAILABLE';

/** The value is stored. */
export interface Stored {
  readonly stored: true;
  /** Version of the value, for `ifVersion`. */
  readonly version: string;
  /** The TTL applied, in milliseconds. */
  readonly ttl: number;
}
/** The value is not stored. */
export interface NotStored {
  readonly stored: false;
  readonly reason: NotStoredReason;
  /** The cache or its store was away, slow or full. */
  readonly degraded: boolean;
  readonly error: unknown;
}
/** Result of a write. */
export type WriteResult = Stored | NotStored;

/** Result of a deletion. */
export interface Deleted<T = unknown> {
  /** Whether there was an entry. */
  readonly existed: boolean;
  /** Whether an entry was removed. */
  readonly deleted: boolean;
  /** The entry that was removed, with `returnValue`. */
  readonly removed: Result<T> | undefined;
  /** The deletion is in the journal of the server, and applied when its store is back. */
  readonly queued: boolean;
}

/** Result of a touch. */
export interface Touched {
  /** Whether there was a fresh entry. */
  readonly found: boolean;
  /** The TTL applied, in milliseconds. */
  readonly ttl: number | undefined;
  readonly degraded: boolean;
  readonly error: unknown;
}

/** Result of an increment. */
export interface Incremented {
  /** The sum, a bigint beyond 2^53; null if there is no counter and `ifPresent` is set. */
  readonly value: number | bigint | null;
  readonly version: string;
  /** Milliseconds until the counter expires. */
  readonly ttlRemaining: number | undefined;
}

/** Result of a patch. */
export type Patched =
  | { readonly applied: true; readonly version: string; readonly ttl: number }
  | { readonly applied: false; readonly reason: 'CONDITION_NOT_MET' | 'MISSING' };

/** Result of an invalidation. */
export interface Invalidated {
  /** The invalidation is in the journal of the server, and applied when its store is back. */
  readonly queued: boolean;
  /** Whether the whole namespace was invalidated, because it has too many tags or patterns. */
  readonly namespaceInvalidated: boolean;
  /** For each of `keys`, in their order: whether there was an entry. */
  readonly existed: readonly boolean[];
}

const NO_TAGS: readonly string[] = Object.freeze([]);
const TIERS: Partial<Record<WireTier, Tier>> = { 1: 'near', 2: 'store', 3: 'origin' };

/** All results of reads have one shape, so that programs that read them stay fast. */
class Read {
  readonly joined: boolean = false;
  constructor(
    readonly outcome: 'HIT' | 'STALE' | 'NEGATIVE' | 'MISS',
    readonly found: boolean,
    readonly value: unknown,
    readonly version: string,
    readonly age: number | undefined,
    readonly ttlRemaining: number | undefined,
    readonly tags: readonly string[],
    readonly tier: Tier | undefined,
    readonly degraded: boolean,
    readonly error: unknown,
    readonly stored: WriteResult | undefined,
  ) {}
}

/** The result of an entry with a value. */
export function valueResult<T>(
  outcome: 'HIT' | 'STALE',
  value: T,
  entry: EntryInfo | undefined,
  degraded: boolean,
  error?: unknown,
): Hit<T> | Stale<T> {
  return new Read(
    outcome,
    true,
    value,
    entry?.version ?? '',
    fromWire(entry?.age),
    fromWire(entry?.ttlRemaining),
    entry?.tags ?? NO_TAGS,
    entry === undefined ? undefined : TIERS[entry.tier],
    degraded,
    error,
    undefined,
  ) as Hit<T> | Stale<T>;
}

/** The result of the cached absence of a value. */
export function negativeResult(entry: EntryInfo | undefined, degraded: boolean): Negative {
  return new Read(
    'NEGATIVE',
    false,
    null,
    entry?.version ?? '',
    fromWire(entry?.age),
    fromWire(entry?.ttlRemaining),
    entry?.tags ?? NO_TAGS,
    entry === undefined ? undefined : TIERS[entry.tier],
    degraded,
    undefined,
    undefined,
  ) as Negative;
}

/** A miss. */
export function missResult(degraded: boolean, error?: unknown): Miss {
  return new Read(
    'MISS', false, null, '', undefined, undefined, NO_TAGS, undefined, degraded, error, undefined,
  ) as Miss;
}

/** A value that a loader computed. */
export function loadedResult<T>(
  value: T,
  stored: WriteResult,
  tags: readonly string[],
  degraded: boolean,
  error?: unknown,
): Hit<T> {
  const version = stored.stored ? stored.version : '';
  const ttl = stored.stored ? stored.ttl : undefined;
  return new Read(
    'HIT', true, value, version, 0, ttl, tags, 'loader', degraded, error, stored,
  ) as unknown as Hit<T>;
}

/** A value from the near cache of this process. */
export function nearResult<T>(
  value: T,
  version: string,
  age: number,
  ttlRemaining: number,
  tags: readonly string[],
): Hit<T> {
  return new Read(
    'HIT', true, value, version, age, ttlRemaining, tags, 'client', false, undefined, undefined,
  ) as unknown as Hit<T>;
}

/** The same result for a call that joined. */
export function joinedResult<T>(result: Result<T>): Result<T> {
  return Object.assign(Object.create(Read.prototype), result, { joined: true });
}

/** A copy of a result with an error. */
export function withError<T>(result: Result<T>, error: unknown): Result<T> {
  return Object.assign(Object.create(Read.prototype), result, { error });
}

/** The result of a value that is not stored. */
export function notStored(
  reason: NotStoredReason,
  degraded = false,
  error?: unknown,
): NotStored {
  return { stored: false, reason, degraded, error };
}
