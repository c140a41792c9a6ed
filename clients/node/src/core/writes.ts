import {
  type SetRequest,
  type SetResponse,
  SetResult,
} from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import { checkTags, listOf } from './checks.js';
import { type Codec, encodedSize, toValue } from './codecs.js';
import { type Duration, fromWire, positive, toWire } from './durations.js';
import type { Params } from './names.js';
import { notStored, type NotStoredReason, type Touched, type WriteResult } from './results.js';
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
  ttlOf,
} from './scope.js';

/** Options of writes. */
export interface WriteOptions<T> extends CallOptions {
  /** How long the value is fresh; the handle's, else the server's default. 0: it is deleted. */
  ttl?: Duration;
  /** Stored with the value, in addition to those of the handle; targets of `invalidate`. */
  tags?: readonly string[];
  /** Writes the value in place of the handle's codec. */
  codec?: Codec<T>;
}

/** Options of a write of one key. At most one condition can be set. */
export interface SetOptions<T> extends WriteOptions<T> {
  params?: Params;
  /** Store only if there is no fresh entry. */
  ifAbsent?: boolean;
  /** Store only if there is a fresh entry. */
  ifPresent?: boolean;
  /** Store only if the entry has this version. */
  ifVersion?: string;
}

/** What `setMany` takes. */
export type Entries<T> = Iterable<readonly [Key, T]> | Readonly<Record<string, T>>;

const BATCH_BYTES = 3 * 1024 * 1024;
const REASONS: Partial<Record<SetResult, NotStoredReason>> = {
  [SetResult.CONDITION_NOT_MET]: 'CONDITION_NOT_MET',
  [SetResult.LEASE_LOST]: 'LEASE_LOST',
  [SetResult.INVALIDATED]: 'INVALIDATED',
  [SetResult.SUPERSEDED]: 'SUPERSEDED',
};

/** The result of a write that the server has answered. */
export function writeResult(answer: SetResponse): WriteResult {
  if (answer.result === SetResult.STORED) {
    return { stored: true, version: answer.version, ttl: fromWire(answer.ttl) ?? 0 };
  }
  if (answer.degraded) return notStored('DEGRADED', true);
  const cause = answer.cause === '' ? undefined : new Error(answer.cause);
  return notStored(REASONS[answer.result] ?? 'NOT_STORED', false, cause);
}

/** Tags of a value: those of the handle and its own, each once. */
export function tagsOf(scope: Scope<any>, tags: readonly string[] | undefined): string[] {
  // Those of the handle are checked when it is made.
  if (tags === undefined || tags.length === 0) return scope.tags as string[];
  const all = [...new Set([...scope.tags, ...listOf(tags, 'tags')])];
  checkTags(all);
  return all;
}

function condition(options: SetOptions<any> | undefined): SetRequest['condition'] {
  if (options === undefined) return undefined;
  const { ifAbsent, ifPresent, ifVersion } = options;
  const set = Number(ifAbsent === true) + Number(ifPresent === true) + Number(ifVersion != null);
  if (set > 1) throw new TypeError('ifAbsent, ifPresent, ifVersion: at most one can be set');
  if (ifAbsent === true) return { $case: 'ifAbsent', value: true };
  if (ifPresent === true) return { $case: 'ifPresent', value: true };
  if (ifVersion === undefined) return undefined;
  if (ifVersion === '') throw new TypeError('ifVersion: must not be empty');
  return { $case: 'ifVersion', value: ifVersion };
}

const NO_LEASE = new Uint8Array(0);

/** Stores one value. */
export async function set<T>(
  scope: Scope<any>,
  key: Key,
  value: T,
  options: SetOptions<T> | undefined,
): Promise<WriteResult> {
  const address = addressOf(key, options?.params);
  const when = condition(options);
  const ttl = ttlOf(scope, options?.ttl);
  const tags = tagsOf(scope, options?.tags);
  if (ttl !== undefined && ttl <= 0) return expire(scope, address, options, when);
  const request: SetRequest = {
    namespace: scope.namespace,
    key: address.key,
    params: address.params,
    value: toValue((options?.codec ?? scope.codec).encode(value)),
    ttl: ttl === undefined ? undefined : toWire(ttl),
    tags,
    condition: when,
    leaseToken: NO_LEASE,
  };
  const how = spec(scope, options, { idempotent: when === undefined, open: true });
  try {
    return writeResult(await scope.core.caller.unary(methods.set, request, how));
  } catch (error) {
    if (!failsOpen(scope, error)) throw error;
    return notStored('UNAVAILABLE', true, error);
  }
}

/** A value without a lifetime is not stored, and ends the one that is there. */
async function expire(
  scope: Scope<any>,
  address: { key: string; params: Record<string, string> },
  options: CallOptions | undefined,
  when: SetRequest['condition'],
): Promise<WriteResult> {
  // There is nothing to delete if the value was to be stored only in place of none.
  if (when?.$case === 'ifAbsent') return notStored('EXPIRED');
  const request = {
    namespace: scope.namespace,
    ...address,
    holdOff: undefined,
    ifVersion: when?.$case === 'ifVersion' ? when.value : undefined,
    returnValue: false,
    requiredDurability: 0 as const,
  };
  try {
    const how = spec(scope, options, { idempotent: when === undefined, open: true });
    await scope.core.caller.unary(methods.delete, request, how);
    return notStored('EXPIRED');
  } catch (error) {
    if (!failsOpen(scope, error)) throw error;
    return notStored('UNAVAILABLE', true, error);
  }
}

/** Keys with their values, as a list. */
export function pairsOf<T>(entries: Entries<T>): (readonly [Key, T])[] {
  if (typeof entries !== 'object' || entries === null) {
    throw new TypeError('entries: expected an object, a map, or pairs of keys and values');
  }
  return Symbol.iterator in entries
    ? [...(entries as Iterable<readonly [Key, T]>)]
    : Object.entries(entries as Record<string, T>);
}

/** Stores several values, each with a result of its own. */
export async function setMany<T>(
  scope: Scope<any>,
  pairs: (readonly [Key, T])[],
  options: WriteOptions<T> | undefined,
): Promise<Map<Key, WriteResult>> {
  const results = new Map<Key, WriteResult>();
  const ttl = ttlOf(scope, options?.ttl);
  const tags = tagsOf(scope, options?.tags);
  if (ttl !== undefined && ttl <= 0) {
    const wanted = pairs.map(([key]) => ({ key, address: addressOf(key) }));
    for (const part of chunks(wanted, BATCH_KEYS)) await expirePart(scope, part, options, results);
    return results;
  }
  const codec = options?.codec ?? scope.codec;
  const wireTtl = ttl === undefined ? undefined : toWire(ttl);
  // All values are encoded first, so that one that cannot be leaves nothing stored.
  const items = pairs.map(([key, value]) => {
    const encoded = codec.encode(value);
    const item: SetRequest = {
      namespace: scope.namespace,
      ...addressOf(key),
      value: toValue(encoded),
      ttl: wireTtl,
      tags,
      condition: undefined,
      leaseToken: NO_LEASE,
    };
    return { key, item, bytes: encodedSize(encoded) + 256 };
  });
  for (let start = 0; start < items.length; ) {
    let end = start;
    let bytes = 0;
    while (
      end < items.length &&
      end - start < BATCH_KEYS &&
      (end === start || bytes + items[end]!.bytes <= BATCH_BYTES)
    ) {
      bytes += items[end]!.bytes;
      end += 1;
    }
    await setPart(scope, items.slice(start, end), options, results);
    start = end;
  }
  return results;
}

/** As {@link expire}, for several entries. */
async function expirePart(
  scope: Scope<any>,
  part: { key: Key; address: Address }[],
  options: CallOptions | undefined,
  results: Map<Key, WriteResult>,
): Promise<void> {
  const request = {
    keys: part.map(({ address }) => ({ namespace: scope.namespace, ...address })),
    holdOff: undefined,
    ifVersions: [],
    requiredDurability: 0 as const,
  };
  let result = notStored('EXPIRED');
  try {
    const how = spec(scope, options, { idempotent: true, open: true });
    await scope.core.caller.unary(methods.batchDelete, request, how);
  } catch (error) {
    if (!failsOpen(scope, error)) throw error;
    result = notStored('UNAVAILABLE', true, error);
  }
  for (const { key } of part) results.set(key, result);
}

async function setPart(
  scope: Scope<any>,
  part: { key: Key; item: SetRequest }[],
  options: CallOptions | undefined,
  results: Map<Key, WriteResult>,
): Promise<void> {
  try {
    const answer = await scope.core.caller.unary(
      methods.batchSet,
      { items: part.map(({ item }) => item) },
      spec(scope, options, { idempotent: true, open: true }),
    );
    part.forEach(({ key }, index) => results.set(key, writeResult(answer.results[index]!)));
  } catch (error) {
    if (!failsOpen(scope, error)) throw error;
    for (const { key } of part) results.set(key, notStored('UNAVAILABLE', true, error));
  }
}

/** Gives a fresh entry a new TTL from now. */
export async function touch(
  scope: Scope<any>,
  key: Key,
  ttl: Duration,
  options: (CallOptions & { params?: Params }) | undefined,
): Promise<Touched> {
  const request = {
    namespace: scope.namespace,
    ...addressOf(key, options?.params),
    ttl: toWire(ttl === Number.POSITIVE_INFINITY ? ttl : positive(ttl, 'ttl')),
  };
  try {
    const answer = await scope.core.caller.unary(
      methods.touch, request, spec(scope, options, { idempotent: true, open: true }),
    );
    const { found, degraded } = answer;
    return { found, ttl: fromWire(answer.ttl), degraded, error: undefined };
  } catch (error) {
    if (!failsOpen(scope, error)) throw error;
    return { found: false, ttl: undefined, degraded: true, error };
  }
}
