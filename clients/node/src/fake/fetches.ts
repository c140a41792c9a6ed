import { autoCodec, toValue } from '../core/codecs.js';
import { fromWire, toWire } from '../core/durations.js';
import { larderError, LarderError } from '../core/errors.js';
import * as wire from '../gen/larder/v1/cache_service.js';
import { checkKey } from './checks.js';
import { foundOf } from './entries.js';
import type { FakeLarder } from './larder.js';

type Answer = wire.GetOrFetchResponse;

function answerOf(
  fake: FakeLarder,
  outcome: Answer['outcome'],
  more: Partial<Answer> = {},
): Answer {
  return {
    outcome,
    degraded: fake.degraded,
    fetchStatus: wire.FetchStatus.UNSPECIFIED,
    fill: wire.FillResult.UNSPECIFIED,
    cause: '',
    ...more,
  };
}

/** Reads one entry, or grants the lease to compute it. */
export async function getOrFetch(
  fake: FakeLarder,
  request: wire.GetOrFetchRequest,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  checkKey(request);
  const settings = fake.store.settings(request.namespace);
  if (fake.degraded) return answerOf(fake, leaseOf(fake, request, undefined, false));
  const begun = fake.store.now();
  const wait = Math.min(60_000, fromWire(request.wait) ?? settings.leaseWait);
  const waitUntil = performance.now() + wait;
  const maxStale = fromWire(request.maxStale) ?? Number.POSITIVE_INFINITY;
  const counted = fake.count(request.namespace);
  for (let waited = false; ; waited = true) {
    const found = fake.store.find(request);
    // With no_cache, only a value that was computed for this call or later is an answer.
    const usable = found !== undefined && (!request.noCache || found.entry.writtenAt > begun);
    if (usable && found.fresh) {
      counted[waited ? 'misses' : found.entry.value === undefined ? 'negative' : 'hits'] += 1n;
      const fetchStatus = waited ? wire.FetchStatus.COALESCED : wire.FetchStatus.UNSPECIFIED;
      return answerOf(fake, { $case: 'found', value: foundOf(fake, found) }, { fetchStatus });
    }
    const stale =
      found !== undefined && !found.fresh && !request.noCache &&
      fake.store.now() - found.entry.freshUntil < maxStale
        ? foundOf(fake, found)
        : undefined;
    const served = stale !== undefined && fake.store.served(found!.entry);
    if (request.onlyIfCached) {
      const cached: Answer['outcome'] = served
        ? { $case: 'found', value: stale }
        : { $case: 'notCached', value: {} };
      return answerOf(fake, cached);
    }
    if (settings.origin !== undefined) return originAnswer(fake, request, stale);
    const backoff = fake.leases.backoff(request);
    if (backoff !== undefined) {
      const failed = { fetchStatus: wire.FetchStatus.FAILED, cause: backoff.cause };
      if (stale !== undefined) return answerOf(fake, { $case: 'found', value: stale }, failed);
      counted.contended += 1n;
      return answerOf(fake, contended(backoff.remaining), failed);
    }
    if (!fake.leases.busy(request)) {
      counted.misses += 1n;
      counted.leasesGranted += 1n;
      return answerOf(fake, leaseOf(fake, request, stale, served));
    }
    if (served) {
      counted.stale += 1n;
      const fetchStatus = wire.FetchStatus.REFRESHING;
      return answerOf(fake, { $case: 'found', value: stale }, { fetchStatus });
    }
    if (!waited) counted.leasesRefused += 1n;
    const left = waitUntil - performance.now();
    if (left <= 0) {
      counted.contended += 1n;
      return answerOf(fake, contended(CONTENDED_MS));
    }
    await fake.leases.wait(request, left, signal);
  }
}

const CONTENDED_MS = 100;

function contended(ms: number): Answer['outcome'] {
  return { $case: 'contended', value: { retryAfter: toWire(ms) } };
}

function leaseOf(
  fake: FakeLarder,
  request: wire.GetOrFetchRequest,
  stale: wire.Found | undefined,
  staleWhileRevalidate: boolean,
): Answer['outcome'] {
  const { token, expiresIn } = fake.degraded
    ? { token: new Uint8Array(16), expiresIn: 10_000 }
    : fake.leases.grant(request);
  return {
    $case: 'lease',
    value: { token, expiresIn: toWire(expiresIn), stale, staleWhileRevalidate },
  };
}

/** The value of the origin of a namespace, which is a function of the test. */
async function originAnswer(
  fake: FakeLarder,
  request: wire.GetOrFetchRequest,
  stale: wire.Found | undefined,
): Promise<Answer> {
  const { origin } = fake.store.settings(request.namespace);
  try {
    const computed = await origin!(request.key, request.params);
    const value = computed === null ? undefined : toValue(autoCodec.encode(computed));
    const entry = fake.store.put(request, value, undefined, []);
    fake.changed(request, 'SUPERSEDED');
    const found = foundOf(fake, { entry, fresh: true });
    found.entry!.tier = wire.Tier.ORIGIN;
    return answerOf(fake, { $case: 'found', value: found }, {
      fetchStatus: wire.FetchStatus.FETCHED,
      fill: wire.FillResult.STORED,
    });
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    if (stale !== undefined) {
      const fetchStatus = wire.FetchStatus.FAILED;
      return answerOf(fake, { $case: 'found', value: stale }, { fetchStatus, cause });
    }
    throw larderError('UNAVAILABLE', `the origin of ${request.namespace} failed: ${cause}`, {
      reason: 'ORIGIN_UNAVAILABLE',
      metadata: { origin: request.namespace, cause },
    });
  }
}

/** GetOrFetch for several keys: it waits for others only while it has no lease itself. */
export async function batchGetOrFetch(
  fake: FakeLarder,
  request: wire.BatchGetOrFetchRequest,
  signal: AbortSignal | undefined,
): Promise<wire.BatchGetOrFetchResponse> {
  const { keys, ...shared } = request;
  const ask = (key: wire.KeyRef, wait: wire.GetOrFetchRequest['wait']) =>
    getOrFetch(fake, { ...shared, ...key, wait, ifVersionNot: '' }, signal);
  const results: wire.BatchGetOrFetchResult[] = [];
  let leased = false;
  for (const key of keys) {
    try {
      const value = await ask(key, toWire(0));
      leased ||= value.outcome?.$case === 'lease';
      results.push({ result: { $case: 'answer', value } });
    } catch (error) {
      if (!(error instanceof LarderError) || error.code !== 'UNAVAILABLE') throw error;
      const { reason, message } = error;
      results.push({
        result: { $case: 'error', value: { reason, message, retryAfter: undefined } },
      });
    }
  }
  for (const [index, key] of keys.entries()) {
    const { result } = results[index]!;
    if (leased || result?.$case !== 'answer') continue;
    if (result.value.outcome?.$case !== 'contended') continue;
    result.value = await ask(key, request.wait);
    leased ||= result.value.outcome?.$case === 'lease';
  }
  return { results };
}
