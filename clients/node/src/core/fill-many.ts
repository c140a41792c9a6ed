import type { SetRequest } from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import { isOutage } from './errors.js';
import { changing, type Feed } from './feed.js';
import { filled, type HeldLease, unfilled } from './lease.js';
import type { Loaded } from './loaders.js';
import type { WriteResult } from './results.js';
import { BATCH_KEYS, type Scope, spec } from './scope.js';
import type { WriteOptions } from './writes.js';

/** Fills of one request stay below this; the server permits 4 MiB. */
const FILL_BYTES = 3 * 1024 * 1024;

interface Fill<K> {
  key: K;
  lease: HeldLease;
  request: SetRequest;
}

/** Stores computed values under their leases. Leases without a value to store are given up. */
export async function fillMany<T, K>(
  scope: Scope<any>,
  options: WriteOptions<T> | undefined,
  missing: readonly { key: K; lease: HeldLease | undefined }[],
  values: ReadonlyMap<K, Loaded<T>>,
): Promise<Map<K, WriteResult>> {
  const stored = new Map<K, WriteResult>();
  let fills: Fill<K>[] = [];
  let bytes = 0;
  const flush = async () => {
    const sent = fills;
    fills = [];
    bytes = 0;
    if (sent.length > 0) await send(scope, sent, stored);
  };
  try {
    for (const { key, lease } of missing) {
      if (lease === undefined) continue;
      const value = values.get(key);
      if (value === undefined) {
        lease.abandon();
        continue;
      }
      const fill = lease.fill(value, options);
      if ('done' in fill) {
        scope.count.fills_refused += 1;
        if (fill.then === 'abandon') lease.abandon();
        else if (fill.then === 'delete') lease.delete();
        stored.set(key, fill.done);
        continue;
      }
      const kind = fill.request.value!.kind!;
      const size = 256 + (kind.$case === 'data' ? kind.value.length : kind.value.length * 3);
      if (fills.length === BATCH_KEYS || bytes + size > FILL_BYTES) await flush();
      fills.push({ key, lease, request: fill.request });
      bytes += size;
    }
    await flush();
  } finally {
    for (const { lease } of missing) lease?.release();
  }
  return stored;
}

async function send<K>(
  scope: Scope<any>, fills: Fill<K>[], stored: Map<K, WriteResult>,
): Promise<void> {
  const how = spec(scope, undefined, { idempotent: false, open: false });
  try {
    const forget = (feed: Feed) => {
      for (const { request } of fills) feed.keyChanged(request.key);
    };
    const items = fills.map(({ request }) => request);
    const answer = await changing(scope, forget, () =>
      scope.core.caller.unary(methods.batchSet, { items }, how),
    );
    fills.forEach(({ key }, index) => {
      stored.set(key, filled(scope, answer.results[index]!));
    });
  } catch (error) {
    if (fills.length > 1 && !isOutage(error)) {
      // One item that is wrong fails a batch, so that each is tried alone.
      for (const fill of fills) await send(scope, [fill], stored);
      return;
    }
    for (const { key, lease } of fills) {
      lease.abandon();
      stored.set(key, unfilled(scope, error));
    }
  }
}
