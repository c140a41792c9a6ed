import { checkTags } from '../core/checks.js';
import { fromWire, toWire } from '../core/durations.js';
import { invalid, larderError } from '../core/errors.js';
import * as wire from '../gen/larder/v1/cache_service.js';
import { checkKey, checkValue, positiveField, storeUnavailable } from './checks.js';
import type { FakeLarder } from './larder.js';
import { RENEW_LOST, SET_LOST } from './leases.js';
import { type Json, jsonPatch, mergePatch, NotApplicable } from './patches.js';
import { type FakeEntry, idOf } from './store.js';

type Patch = NonNullable<wire.PatchRequest['patch']>;

/** What the server says about an entry. */
export function infoOf(fake: FakeLarder, entry: FakeEntry): wire.EntryInfo {
  const now = fake.store.now();
  return {
    version: entry.version,
    age: toWire(Math.max(0, now - entry.writtenAt)),
    ttlRemaining: toWire(Math.max(0, entry.freshUntil - now)),
    tags: entry.tags,
    tier: wire.Tier.STORE,
  };
}

/** Reads one entry. */
export function read(fake: FakeLarder, request: wire.GetRequest): wire.GetResponse {
  checkKey(request);
  const touch = positiveField(request.touch, 'touch');
  const answer: wire.GetResponse = {
    outcome: wire.Outcome.MISS,
    value: undefined,
    entry: undefined,
    degraded: fake.degraded,
    notModified: false,
    parts: [],
  };
  if (fake.degraded) return answer;
  const found = fake.store.find(request);
  const maxStale = fromWire(request.maxStale) ?? Number.POSITIVE_INFINITY;
  const counted = fake.count(request.namespace);
  if (found === undefined) {
    counted.misses += 1n;
    return answer;
  }
  const { entry, fresh } = found;
  const late = fake.store.now() - entry.freshUntil;
  if (!fresh && (late >= maxStale || !fake.store.served(entry))) {
    counted.misses += 1n;
    return answer;
  }
  if (fresh && touch !== undefined) {
    const { maxTtl } = fake.store.settings(entry.namespace);
    const until = Math.min(fake.store.now() + touch, entry.writtenAt + maxTtl);
    entry.freshUntil = Math.max(entry.freshUntil, until);
    entry.staleUntil = entry.freshUntil + fake.store.staleness(entry.namespace);
  }
  answer.entry = infoOf(fake, entry);
  answer.notModified =
    request.ifVersionNot !== '' && request.ifVersionNot === entry.version;
  if (entry.value === undefined) {
    counted.negative += 1n;
    answer.outcome = wire.Outcome.NEGATIVE;
    return answer;
  }
  answer.outcome = fresh ? wire.Outcome.HIT : wire.Outcome.STALE;
  counted[fresh ? 'hits' : 'stale'] += 1n;
  if (!request.omitValue && !answer.notModified) answer.value = entry.value;
  return answer;
}

/** Checks a write as the server does before it stores any of a batch. */
export function checkSet(fake: FakeLarder, request: wire.SetRequest, field = ''): void {
  checkKey(request, field);
  checkTags(request.tags, `${field}tags`);
  positiveField(request.ttl, `${field}ttl`);
  const { maxValueBytes } = fake.store.settings(request.namespace);
  checkValue(request.value, maxValueBytes, request.namespace);
}

/** Stores one value. */
export function write(fake: FakeLarder, request: wire.SetRequest): wire.SetResponse {
  const refused = (result: wire.SetResult): wire.SetResponse => ({
    result, version: '', ttl: undefined, degraded: fake.degraded, cause: '',
  });
  if (fake.degraded) return refused(wire.SetResult.NOT_STORED);
  const entry = fake.store.fresh(request);
  const { condition, leaseToken } = request;
  const unmet =
    (condition?.$case === 'ifAbsent' && entry !== undefined) ||
    (condition?.$case === 'ifPresent' && entry === undefined) ||
    (condition?.$case === 'ifVersion' &&
      fake.store.find(request)?.entry.version !== condition.value);
  if (unmet) return refused(wire.SetResult.CONDITION_NOT_MET);
  if (leaseToken.length > 0) {
    const lost = fake.leases.refusal(request, leaseToken, request.tags);
    if (lost !== undefined) return refused(SET_LOST[lost]);
  }
  const stored = fake.store.put(request, request.value, fromWire(request.ttl), request.tags);
  fake.count(request.namespace).sets += 1n;
  fake.changed(request, 'SUPERSEDED');
  return {
    result: wire.SetResult.STORED,
    version: stored.version,
    ttl: toWire(Math.round(stored.freshUntil - stored.writtenAt)),
    degraded: false,
    cause: '',
  };
}

/** Removes one entry. */
export function remove(fake: FakeLarder, request: wire.DeleteRequest): wire.DeleteResponse {
  checkKey(request);
  if (request.ifVersion === '') throw invalid('if_version', 'must not be empty');
  if (fake.degraded) throw storeUnavailable();
  const found = fake.store.find(request);
  const existed = found !== undefined;
  const wanted = request.ifVersion === undefined || found?.entry.version === request.ifVersion;
  const answer: wire.DeleteResponse = {
    existed,
    deleted: existed && wanted,
    removed: undefined,
    durability: wire.Durability.APPLIED,
  };
  if (!wanted) return answer;
  if (request.returnValue && found !== undefined) answer.removed = foundOf(fake, found);
  fake.store.entries.delete(idOf(request));
  const id = idOf(request);
  fake.leases.holdOff(fromWire(request.holdOff), (place) => idOf(place) === id);
  fake.count(request.namespace).deletes += 1n;
  fake.changed(request, 'INVALIDATED');
  return answer;
}

/** An entry in an answer. */
export function foundOf(
  fake: FakeLarder,
  { entry, fresh }: { entry: FakeEntry; fresh: boolean },
): wire.Found {
  const outcome =
    entry.value === undefined
      ? wire.Outcome.NEGATIVE
      : fresh
        ? wire.Outcome.HIT
        : wire.Outcome.STALE;
  return {
    value: entry.value,
    entry: infoOf(fake, entry),
    outcome,
    notModified: false,
    parts: [],
    notJson: false,
  };
}

export function touch(fake: FakeLarder, request: wire.TouchRequest): wire.TouchResponse {
  checkKey(request);
  const ttl = positiveField(request.ttl, 'ttl');
  const entry = fake.degraded ? undefined : fake.store.fresh(request);
  if (entry === undefined) return { found: false, ttl: undefined, degraded: fake.degraded };
  const settings = fake.store.settings(request.namespace);
  const applied = Math.min(ttl ?? settings.ttl, settings.maxTtl);
  entry.freshUntil = fake.store.now() + applied;
  entry.staleUntil = entry.freshUntil + fake.store.staleness(entry.namespace);
  return { found: true, ttl: toWire(applied), degraded: false };
}

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

export function increment(
  fake: FakeLarder,
  request: wire.IncrementRequest,
): wire.IncrementResponse {
  checkKey(request);
  const ttl = positiveField(request.ttl, 'ttl');
  if (fake.degraded) throw storeUnavailable();
  const entry = fake.store.fresh(request);
  if (entry === undefined && request.ifPresent) {
    return { value: 0n, version: '', ttlRemaining: undefined, missing: true };
  }
  let before = request.initial;
  if (entry !== undefined) {
    const kind = entry.value?.kind;
    if (kind?.$case !== 'text' || !/^-?\d{1,19}$/.test(kind.value)) {
      throw larderError('FAILED_PRECONDITION', 'the entry is not a decimal integer of 64 bits', {
        reason: 'NOT_AN_INTEGER',
      });
    }
    before = BigInt(kind.value);
  }
  const sum = before + (request.delta ?? 1n);
  if (sum < MIN_INT64 || sum > MAX_INT64) {
    throw larderError('FAILED_PRECONDITION', 'the sum does not fit in 64 bits', {
      reason: 'OVERFLOW',
    });
  }
  const value: wire.Value = { kind: { $case: 'text', value: String(sum) } };
  const remaining = entry === undefined ? ttl : entry.freshUntil - fake.store.now();
  const stored = fake.store.put(request, value, remaining, entry?.tags ?? []);
  fake.changed(request, 'SUPERSEDED');
  return {
    value: sum,
    version: stored.version,
    ttlRemaining: toWire(Math.round(stored.freshUntil - stored.writtenAt)),
    missing: false,
  };
}

export function patch(fake: FakeLarder, request: wire.PatchRequest): wire.PatchResponse {
  checkKey(request);
  if (request.patch === undefined) throw invalid('patch', 'must be set');
  if (fake.degraded) throw storeUnavailable();
  const refused = (result: wire.PatchResult) => ({ result, version: '', ttl: undefined });
  const entry = fake.store.fresh(request);
  if (entry?.value === undefined) return refused(wire.PatchResult.MISSING);
  if (request.ifVersion !== undefined && request.ifVersion !== entry.version) {
    return refused(wire.PatchResult.CONDITION_NOT_MET);
  }
  const kind = entry.value.kind;
  if (kind?.$case !== 'json') {
    throw larderError('FAILED_PRECONDITION', 'the value of the entry is not JSON', {
      reason: 'NOT_JSON',
    });
  }
  const json = JSON.stringify(patched(JSON.parse(kind.value), request.patch));
  const value: wire.Value = { kind: { $case: 'json', value: json } };
  checkValue(value, fake.store.settings(request.namespace).maxValueBytes, request.namespace);
  const { expiry } = request;
  const ttl =
    expiry?.$case === 'keep'
      ? entry.freshUntil - fake.store.now()
      : fromWire(expiry?.$case === 'ttl' ? expiry.value : undefined);
  const stored = fake.store.put(request, value, ttl, entry.tags);
  fake.changed(request, 'SUPERSEDED');
  return {
    result: wire.PatchResult.APPLIED,
    version: stored.version,
    ttl: toWire(Math.round(stored.freshUntil - stored.writtenAt)),
  };
}

function patched(value: Json, change: Patch): unknown {
  try {
    const parsed = JSON.parse(change.value);
    return change.$case === 'mergePatch' ? mergePatch(value, parsed) : jsonPatch(value, parsed);
  } catch (error) {
    if (error instanceof NotApplicable) {
      throw larderError('FAILED_PRECONDITION', error.message, { reason: 'PATCH_NOT_APPLICABLE' });
    }
    throw invalid('patch', (error as Error).message);
  }
}

export function renew(fake: FakeLarder, request: wire.RenewRequest): wire.RenewResponse {
  const unknown = wire.RenewResult.UNSPECIFIED;
  if (fake.degraded) return { result: unknown, expiresIn: undefined, degraded: true };
  const renewed = fake.leases.renew(request, request.leaseToken);
  if ('lost' in renewed) {
    return { result: RENEW_LOST[renewed.lost], expiresIn: undefined, degraded: false };
  }
  return {
    result: wire.RenewResult.RENEWED, expiresIn: toWire(renewed.expiresIn), degraded: false,
  };
}
