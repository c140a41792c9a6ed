import { Durability, type Found, Outcome, PatchResult } from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import { checkJsonPatch, holdOffToWire } from './checks.js';
import { type Codec, toJson } from './codecs.js';
import { type Duration, fromWire, milliseconds, toWire } from './durations.js';
import type { Params } from './names.js';
import { readResult } from './reads.js';
import type { Deleted, Incremented, Patched } from './results.js';
import {
  addressOf,
  BATCH_KEYS,
  type CallOptions,
  chunks,
  type Key,
  type Scope,
  spec,
  ttlOf,
} from './scope.js';

/** Options of `delete`. */
export interface DeleteOptions<T> extends CallOptions {
  params?: Params;
  /** Delete only if the entry has this version. */
  ifVersion?: string;
  /** Rejects fills of the entry for this long. */
  holdOff?: Duration;
  /** Return the entry that is removed, as `removed`. */
  returnValue?: boolean;
  /** Reads the entry that is removed. */
  codec?: Codec<T>;
}

/** Options of `increment`. */
export interface IncrementOptions extends CallOptions {
  params?: Params;
  /** Value of a missing counter before the amount is added: 0. */
  initial?: number | bigint;
  /** TTL of a counter that is created. */
  ttl?: Duration;
  /** Add only to a counter that is there. */
  ifPresent?: boolean;
}

/** Change of a JSON value: a merge patch (RFC 7396) or the operations of a patch (RFC 6902). */
export type PatchOf = { readonly merge: unknown } | { readonly jsonPatch: readonly object[] };

/** Options of `patch`. */
export interface PatchOptions extends CallOptions {
  params?: Params;
  /** Change only if the entry has this version. */
  ifVersion?: string;
  /** How long the changed value is fresh. */
  ttl?: Duration;
  /** The changed value expires when it would have expired without the patch. */
  keepTtl?: boolean;
}

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

/** A 64-bit integer from an argument. */
function int64(value: number | bigint, name: string): bigint {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new RangeError(`${name}: expected a whole number up to 2^53 or a bigint, got ${value}`);
  }
  const integer = BigInt(value);
  if (integer < MIN_INT64 || integer > MAX_INT64) {
    throw new RangeError(`${name}: does not fit into 64 bits`);
  }
  return integer;
}

function removedResult<T>(scope: Scope<any>, codec: Codec<T>, found: Found | undefined) {
  if (found === undefined || found.outcome === Outcome.UNSPECIFIED) return undefined;
  return readResult(scope, codec, found.outcome, found.value, found.entry, false);
}

/** Removes one entry. */
export async function remove<T>(
  scope: Scope<any>,
  key: Key,
  options: DeleteOptions<T> | undefined,
): Promise<Deleted<T>> {
  const { ifVersion, returnValue = false } = options ?? {};
  if (ifVersion === '') throw new TypeError('ifVersion: must not be empty');
  const request = {
    namespace: scope.namespace,
    ...addressOf(key, options?.params),
    holdOff: holdOffToWire(options?.holdOff),
    ifVersion,
    returnValue,
    requiredDurability: Durability.UNSPECIFIED,
  };
  const idempotent = ifVersion === undefined && !returnValue;
  const answer = await scope.core.caller.unary(
    methods.delete, request, spec(scope, options, { idempotent, open: false }),
  );
  return {
    existed: answer.existed,
    deleted: answer.deleted,
    removed: removedResult(scope, options?.codec ?? scope.codec, answer.removed),
    queued: answer.durability === Durability.QUEUED,
  };
}

/** Removes several entries. */
export async function removeMany<K extends Key>(
  scope: Scope<any>,
  keys: Iterable<K>,
  options: (CallOptions & { holdOff?: Duration }) | undefined,
): Promise<Map<K, Deleted<never>>> {
  const results = new Map<K, Deleted<never>>();
  const holdOff = holdOffToWire(options?.holdOff);
  const wanted = [...keys].map((key) => ({ key, address: addressOf(key) }));
  for (const part of chunks(wanted, BATCH_KEYS)) {
    const answer = await scope.core.caller.unary(
      methods.batchDelete,
      {
        keys: part.map(({ address }) => ({ namespace: scope.namespace, ...address })),
        holdOff,
        ifVersions: [],
        requiredDurability: Durability.UNSPECIFIED,
      },
      spec(scope, options, { idempotent: true, open: false }),
    );
    part.forEach(({ key }, index) => {
      results.set(key, {
        existed: answer.existed[index] ?? false,
        deleted: answer.deleted[index] ?? false,
        removed: undefined,
        queued: answer.durabilities[index] === Durability.QUEUED,
      });
    });
  }
  return results;
}

/** Adds to a counter. */
export async function increment(
  scope: Scope<any>,
  key: Key,
  delta: number | bigint,
  options: IncrementOptions | undefined,
): Promise<Incremented> {
  const ttl = ttlOf(scope, options?.ttl);
  if (ttl !== undefined && ttl <= 0) throw new RangeError('ttl: must be positive');
  const request = {
    namespace: scope.namespace,
    ...addressOf(key, options?.params),
    delta: int64(delta, 'delta'),
    initial: int64(options?.initial ?? 0, 'initial'),
    ttl: ttl === undefined ? undefined : toWire(ttl),
    ifPresent: options?.ifPresent ?? false,
  };
  const answer = await scope.core.caller.unary(
    methods.increment, request, spec(scope, options, { idempotent: false, open: false }),
  );
  if (answer.missing) return { value: null, version: '', ttlRemaining: undefined };
  const exact = Number(answer.value);
  return {
    value: Number.isSafeInteger(exact) ? exact : answer.value,
    version: answer.version,
    ttlRemaining: fromWire(answer.ttlRemaining),
  };
}

/** Changes a part of a JSON value. */
export async function patch(
  scope: Scope<any>,
  key: Key,
  change: PatchOf,
  options: PatchOptions | undefined,
): Promise<Patched> {
  const { ifVersion, keepTtl = false } = options ?? {};
  if (ifVersion === '') throw new TypeError('ifVersion: must not be empty');
  if (keepTtl && options?.ttl !== undefined) {
    throw new TypeError('ttl, keepTtl: at most one can be set');
  }
  const named = typeof change === 'object' && change !== null;
  if (!named || 'merge' in change === 'jsonPatch' in change) {
    throw new TypeError('patch: expected either merge or jsonPatch');
  }
  if ('jsonPatch' in change) checkJsonPatch(change.jsonPatch);
  const ttl = options?.ttl === undefined ? scope.ttl : milliseconds(options.ttl, 'ttl');
  if (!keepTtl && ttl !== undefined && ttl <= 0) throw new RangeError('ttl: must be positive');
  const request = {
    namespace: scope.namespace,
    ...addressOf(key, options?.params),
    patch:
      'merge' in change
        ? ({ $case: 'mergePatch', value: toJson(change.merge) } as const)
        : ({ $case: 'jsonPatch', value: toJson(change.jsonPatch) } as const),
    ifVersion,
    expiry: keepTtl
      ? ({ $case: 'keep', value: true } as const)
      : ttl === undefined
        ? undefined
        : ({ $case: 'ttl', value: toWire(ttl) } as const),
  };
  const answer = await scope.core.caller.unary(
    methods.patch, request, spec(scope, options, { idempotent: false, open: false }),
  );
  if (answer.result === PatchResult.APPLIED) {
    return { applied: true, version: answer.version, ttl: fromWire(answer.ttl) ?? 0 };
  }
  const missing = answer.result === PatchResult.MISSING;
  return { applied: false, reason: missing ? 'MISSING' : 'CONDITION_NOT_MET' };
}
