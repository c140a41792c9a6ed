import { describe, expect, test } from 'vitest';
import { Client, type Codec, jsonCodec, loaded, type Transport } from '../src/index.js';
import { FakeLarder } from '../src/testing.js';
import { BACKENDS, deferred, fresh, until, useBackend } from './support.js';

const SERVER = `
[defaults]
ttl_jitter = 0.0
[namespaces.short]
lease_ttl = "1s"
[namespaces.stale]
stale_while_revalidate = "1m"
stale_if_error = "1m"
`;
const FAKE = {
  short: { leaseTtl: 1000 },
  stale: { staleWhileRevalidate: 60_000, staleIfError: 60_000 },
};

describe.each(BACKENDS)('on the %s', (kind) => {
  const used = useBackend(kind, { config: SERVER }, { namespaces: FAKE });
  const space = () => used.client.namespace(fresh());

  describe('getOrFetch', () => {
    test('a missing value is computed, stored, and then read', async () => {
      const cache = space();
      const computed = await cache.getOrFetch('k', () => ({ n: 1 }), { ttl: '5m', tags: ['t'] });
      expect(computed).toMatchObject({
        outcome: 'HIT', value: { n: 1 }, tier: 'loader', joined: false, degraded: false,
        stored: { stored: true, ttl: 300_000 },
      });
      const read = await cache.getOrFetch('k', () => { throw new Error('not called'); });
      expect(read).toMatchObject({
        value: { n: 1 }, tier: 'store', tags: ['t'], stored: undefined,
      });
    });

    test('calls of a process join one computation', async () => {
      const cache = space();
      let calls = 0;
      const gate = deferred();
      const all = Array.from({ length: 50 }, () =>
        cache.getOrFetch('k', async () => {
          calls += 1;
          await gate.promise;
          return 7;
        }),
      );
      await until(() => calls, 'the loader runs');
      gate.resolve();
      const results = await Promise.all(all);
      expect(calls).toBe(1);
      expect(results.every(({ value }) => value === 7)).toBe(true);
      expect(results.filter(({ joined }) => joined)).toHaveLength(49);
    });

    test('a call that joined does not get what was read before it began', async () => {
      const cache = space();
      await cache.set('k', 'old');
      // The read of the first may be older than the write of another process.
      const first = cache.getOrFetch('k', () => 'computed');
      const others = [1, 2, 3].map(() => cache.getOrFetch('k', () => 'computed'));
      await used.connect().namespace(cache.name).set('k', 'new');
      expect(['old', 'new']).toContain((await first).value);
      const results = await Promise.all(others);
      expect(results.map(({ joined }) => joined).sort()).toEqual([false, true, true]);

      // A refused fill may be older than the invalidation that refused it.
      let loads = 0;
      const gate = deferred();
      const load = async () => {
        loads += 1;
        const value = loads;
        if (value === 1) await gate.promise;
        return value;
      };
      const refused = cache.getOrFetch('r', load);
      await until(() => loads, 'the loader runs');
      const joined = [1, 2].map(() => cache.getOrFetch('r', load));
      await used.connect().namespace(cache.name).invalidate({ keys: ['r'] });
      gate.resolve();
      expect(await refused).toMatchObject({ value: 1, stored: { reason: 'INVALIDATED' } });
      expect((await Promise.all(joined)).map(({ value }) => value)).toEqual([2, 2]);
    });

    test('own invalidations end the joining', async () => {
      const cache = space();
      for (const invalidate of [
        () => cache.delete('k'),
        () => cache.deleteMany(['k']),
        () => cache.invalidate({ keys: ['k'] }),
        () => cache.invalidate({ tags: ['any'] }),
        () => cache.invalidate({ globs: ['k*'] }),
        () => cache.invalidateNamespace(),
        () => cache.publishEvent('any'),
      ]) {
        const gate = deferred<string>();
        let running = false;
        const first = cache.getOrFetch('k', () => ((running = true), gate.promise));
        await until(() => running, 'the loader runs');
        await invalidate();
        // A call that joined would wait for the gate.
        const second = await cache.getOrFetch('k', () => 'new', { timeout: 0, refresh: false });
        expect(second).toMatchObject({ value: 'new', joined: false });
        gate.resolve('old');
        expect((await first).value).toBe('old');
        await cache.delete('k');
      }
    });

    test('a call that joined does not wait longer than its timeout', async () => {
      const cache = space();
      const gate = deferred<number>();
      let running = false;
      const first = cache.getOrFetch('k', () => ((running = true), gate.promise));
      await until(() => running, 'the loader runs');
      const late = await cache.getOrFetch('k', () => 2, { timeout: 50 });
      expect(late).toMatchObject({ value: 2, stored: { reason: 'NOT_STORED' }, joined: false });
      gate.resolve(1);
      expect(await first).toMatchObject({ value: 1, stored: { stored: true } });
    });

    test('processes compute once', async () => {
      const other = used.connect();
      const name = fresh();
      let calls = 0;
      const gate = deferred();
      const load = async () => {
        calls += 1;
        await gate.promise;
        return 'v';
      };
      const first = used.client.namespace(name).getOrFetch('k', load);
      await until(() => calls, 'the loader runs');
      const second = other.namespace(name).getOrFetch('k', load);
      await until(async () => {
        const stats = await used.client.namespace(name).stats();
        return (stats?.counted?.total?.leasesRefused ?? 0) > 0;
      }, 'the other process waits');
      gate.resolve();
      expect((await first).tier).toBe('loader');
      expect(await second).toMatchObject({ value: 'v', tier: 'store' });
      expect(calls).toBe(1);
      await other.close();
    });

    test('an error of the loader reaches all callers as it is, and is not cached', async () => {
      const cache = space();
      const failure = new RangeError('no');
      const both = await Promise.allSettled([
        cache.getOrFetch('k', () => Promise.reject(failure)),
        cache.getOrFetch('k', () => 1),
      ]);
      const reasons = both.map((each) => (each as PromiseRejectedResult).reason);
      expect(reasons).toEqual([failure, failure]);
      // During the back-off another call computes without storing.
      const next = await cache.getOrFetch('k', () => 2, { timeout: 0 });
      expect(next).toMatchObject({ value: 2, stored: { stored: false, reason: 'NOT_STORED' } });
      // Within the budget it waits for the end of the back-off.
      expect(await cache.getOrFetch('k', () => 3)).toMatchObject({ stored: { stored: true } });
    });

    test('a caller that leaves hands over to those that joined', async () => {
      const cache = space();
      const gate = deferred<number>();
      const leaving = new AbortController();
      let aborted = false;
      const first = cache.getOrFetch('k', ({ signal }) => {
        signal.addEventListener('abort', () => { aborted = true; });
        return gate.promise;
      }, { signal: leaving.signal });
      const second = cache.getOrFetch('k', () => 0);
      await until(() => used.client.counters()[cache.wireName]!.loads, 'the loader runs');
      leaving.abort(new Error('gone'));
      await expect(first).rejects.toThrow('gone');
      gate.resolve(5);
      expect(await second).toMatchObject({ value: 5, joined: true, stored: { stored: true } });
      expect(aborted).toBe(false);
    });

    test('the last caller that leaves ends the loader and passes the lease on', async () => {
      const cache = space();
      const leaving = new AbortController();
      let aborted = false;
      const call = cache.getOrFetch('k', ({ signal }) => new Promise<number>(() => {
        signal.addEventListener('abort', () => { aborted = true; });
      }), { signal: leaving.signal });
      await until(() => used.client.counters()[cache.wireName]!.loads, 'the loader runs');
      leaving.abort();
      await expect(call).rejects.toMatchObject({ name: 'AbortError' });
      expect(aborted).toBe(true);
      expect(await cache.getOrFetch('k', () => 1)).toMatchObject({ stored: { stored: true } });
      // A back-off would have been an answer, too.
      expect((await cache.stats())?.counted?.total?.contended).toBe(0);
      await expect(cache.get('k', { signal: AbortSignal.abort() })).rejects.toMatchObject({
        name: 'AbortError',
      });
    });

    test('store: false leaves nothing behind and no back-off', async () => {
      const cache = space();
      const secret = await cache.getOrFetch('k', () => loaded('s', { store: false }));
      expect(secret).toMatchObject({ value: 's', stored: { stored: false, reason: 'NOT_STORED' } });
      const next = await cache.getOrFetch('k', () => loaded('t', { ttl: '1m', tags: ['x'] }));
      expect(next).toMatchObject({ value: 't', stored: { stored: true, ttl: 60_000 } });
      expect((await cache.get('k')).tags).toEqual(['x']);
      const ended = await cache.getOrFetch('e', () => loaded('u', { ttl: 0 }));
      expect(ended).toMatchObject({ value: 'u', stored: { reason: 'EXPIRED' } });
    });

    test('a refused fill is still the value', async () => {
      const cache = space();
      const invalidated = await cache.getOrFetch('i', async () => {
        await cache.invalidate({ keys: ['i'] });
        return 1;
      });
      expect(invalidated).toMatchObject({ value: 1, stored: { reason: 'INVALIDATED' } });
      const superseded = await cache.getOrFetch('s', async () => {
        await cache.set('s', 'other');
        return 2;
      });
      expect(superseded).toMatchObject({ value: 2, stored: { reason: 'SUPERSEDED' } });
      const large = await cache.getOrFetch('l', () => 'x'.repeat(1_100_000));
      expect(large).toMatchObject({
        outcome: 'HIT', stored: { reason: 'NOT_STORED', error: { reason: 'VALUE_TOO_LARGE' } },
      });
      const odd = await cache.getOrFetch('o', () => ({ n: Number.NaN }));
      expect(odd).toMatchObject({ outcome: 'HIT', stored: { reason: 'NOT_ENCODABLE' } });
      expect(used.client.counters()[cache.wireName]).toMatchObject({ fills_refused: 4 });
      await expect(cache.getOrFetch('m', () => loaded(1, { tags: [''] }))).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    });

    test('a long computation keeps its lease', async () => {
      const cache = used.client.namespace('short');
      const key = fresh();
      const result = await cache.getOrFetch(key, async () => {
        await new Promise((resolve) => setTimeout(resolve, 2500));
        return 1;
      });
      expect(result.stored).toMatchObject({ stored: true });
    });

    test('a stale value is the answer at once, and is refreshed in the background', async () => {
      const cache = used.client.namespace('stale');
      const key = fresh();
      await cache.set(key, 'old', { ttl: 1 });
      await until(async () => (await cache.get(key)).outcome === 'STALE', 'the value is stale');
      const gate = deferred();
      const read = await cache.getOrFetch(key, async () => {
        await gate.promise;
        return 'new';
      });
      expect(read).toMatchObject({ outcome: 'STALE', value: 'old' });
      gate.resolve();
      await until(async () => (await cache.get(key)).value === 'new', 'the value is new');

      await cache.set(key, 'old', { ttl: 1 });
      await until(async () => (await cache.get(key)).outcome === 'STALE', 'the value is stale');
      const full = used.connect({ background: 0 });
      const failed = await full.namespace('stale').getOrFetch(key, () => {
        throw new Error('down');
      });
      expect(failed).toMatchObject({ outcome: 'STALE', value: 'old', error: new Error('down') });
      await full.close();
    });

    test('a value that cannot be decoded is replaced', async () => {
      const cache = space();
      await cache.set('k', 'text');
      const codec = {
        encode: (value: number) => ({ kind: 'json', value: String(value) }) as const,
        decode: (encoded: { kind: string; value: unknown }) => {
          if (encoded.kind !== 'json') throw new Error('not json');
          return Number(encoded.value);
        },
      };
      const replaced = await cache.getOrFetch('k', () => 5, { codec });
      expect(replaced.stored).toMatchObject({ stored: true });
      expect((await cache.get('k')).value).toBe(5);
    });

    test('without a loader and an origin there is a miss, and no lease is kept', async () => {
      const cache = space();
      expect((await cache.getOrFetch('k')).outcome).toBe('MISS');
      expect((await cache.getOrFetch('k', () => 1)).stored).toMatchObject({ stored: true });
      expect((await cache.stats())?.counted?.total?.contended).toBe(0);
      await cache.getOrFetch('k', () => 2, { refresh: true });
      expect((await cache.get('k')).value).toBe(2);
    });
  });

  describe('getOrFetchMany', () => {
    test('missing values are computed together', async () => {
      const cache = space();
      await cache.set('a', 1);
      const asked: unknown[] = [];
      const keys = ['a', 'b', 'c', 'none'];
      const results = await cache.getOrFetchMany<number, string>(keys, (missing) => {
        asked.push(missing);
        return { b: 2, c: loaded(3, { ttl: '1m', tags: ['t'] }) } as never;
      });
      expect(asked).toEqual([['b', 'c', 'none']]);
      expect([...results.keys()]).toEqual(keys);
      expect(results.get('a')).toMatchObject({ value: 1, tier: 'store' });
      expect(results.get('c')).toMatchObject({ value: 3, tier: 'loader', stored: { ttl: 60_000 } });
      expect(results.get('none')).toMatchObject({ outcome: 'MISS' });
      expect((await cache.get('b')).value).toBe(2);
      expect((await cache.get('c')).tags).toEqual(['t']);
      expect(await cache.getOrFetchMany([], () => ({}))).toEqual(new Map());
    });

    test('two batches compute each key once', async () => {
      const cache = space();
      const other = used.connect();
      const keys = Array.from({ length: 300 }, (_, index) => `k${index}`);
      let computed = 0;
      const load = async (missing: string[]) => {
        computed += missing.length;
        await new Promise((resolve) => setTimeout(resolve, 50));
        return missing.map((key) => [key, key] as const);
      };
      const both = await Promise.all([
        cache.getOrFetchMany(keys.slice(0, 200), load),
        other.namespace(cache.name).getOrFetchMany(keys.slice(100), load),
      ]);
      for (const results of both) {
        for (const [key, result] of results) expect(result.value).toBe(key);
      }
      expect(computed).toBe(300);
      await other.close();
    });

    test('an error of the loader gives all leases up', async () => {
      const cache = space();
      const call = cache.getOrFetchMany(['a', 'b'], () => { throw new RangeError('no'); });
      await expect(call).rejects.toThrow('no');
      const leaving = new AbortController();
      const cancelled = cache.getOrFetchMany(['x', 'y'], () => new Promise(() => {}) as never, {
        signal: leaving.signal,
      });
      await until(() => used.client.counters()[cache.wireName]!.loads === 2, 'the loader runs');
      leaving.abort(new Error('gone'));
      await expect(cancelled).rejects.toThrow('gone');
      const next = await cache.getOrFetchMany(['x', 'y'], () => ({ x: 1, y: 2 }));
      expect(next.get('y')?.stored).toMatchObject({ stored: true });
    });
  });
});

test('a value that another process stores again in a form of its own is computed', async () => {
  const { transport } = new FakeLarder();
  // It is there again before each answer.
  const racing: Transport = Object.assign(Object.create(transport), {
    unary(method: any, request: any, attempt: any) {
      const asked = method.name === 'GetOrFetch' ? { ...request, noCache: false } : request;
      return transport.unary(method, asked, attempt);
    },
  });
  const client = new Client({ transport: racing, logger: null });
  const cache = client.namespace('n');
  await cache.set('k', 'old');
  const failure = new RangeError('another form');
  const codec: Codec<any> = { ...jsonCodec, decode: () => { throw failure; } };
  expect(await cache.getOrFetch('k', () => 'new', { codec })).toMatchObject({
    outcome: 'HIT', value: 'new', tier: 'loader',
    stored: { stored: false, reason: 'NOT_STORED', error: failure },
  });
  await client.close();
});
