// cache-manager 7 on the adapter for Keyv: the cases of its documentation.
import { randomUUID } from 'node:crypto';
import { createCache } from 'cache-manager';
import Keyv from 'keyv';
import { Client } from 'larder-cache';
import { LarderStore } from 'larder-cache/keyv';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';

/** A busy machine takes its time. */
const LONG = { timeout: 30_000 };

const client = new Client({ preset: 'local' });
afterAll(() => client.close());

let namespace;
let cache;
const stored = () => client.namespace(namespace);
const keyvOn = () => new Keyv({ store: new LarderStore({ client }), namespace });
beforeEach(() => {
  namespace = `cm-${randomUUID().slice(0, 8)}`;
  cache = createCache({ stores: [keyvOn()] });
});

describe('cache-manager', () => {
  it('set, get and del', async () => {
    expect(await cache.set('foo', 'bar')).toBe('bar');
    expect(await cache.get('foo')).toBe('bar');
    expect(await cache.del('foo')).toBe(true);
    expect(await cache.get('foo')).toBeUndefined();
  });

  it('mset, mget and mdel', async () => {
    await cache.mset([
      { key: 'key1', value: 'value1' },
      { key: 'key2', value: { n: 2 } },
    ]);
    expect(await cache.mget(['key1', 'key2', 'key3'])).toEqual(['value1', { n: 2 }, undefined]);
    expect(await cache.mdel(['key1', 'key2'])).toBe(true);
    expect(await cache.mget(['key1', 'key2'])).toEqual([undefined, undefined]);
  });

  it('the default lifetime, and that of a call', async () => {
    cache = createCache({ stores: [keyvOn()], ttl: 10_000 });
    await cache.set('default', 1);
    await cache.set('own', 1, 60_000);
    expect((await stored().get(`${namespace}:default`)).ttlRemaining).toBeLessThanOrEqual(10_000);
    expect((await stored().get(`${namespace}:own`)).ttlRemaining).toBeGreaterThan(50_000);
    expect(await cache.ttl('own')).toBeGreaterThan(Date.now() + 50_000);
  });

  it('a value expires', async () => {
    await cache.set('foo', 'bar', 50);
    await vi.waitFor(async () => expect(await cache.get('foo')).toBeUndefined(), LONG);
    await vi.waitFor(async () => expect(await stored().has(`${namespace}:foo`)).toBe(false), LONG);
  });

  it('false, 0 and empty text are values', async () => {
    for (const value of [false, 0, '']) {
      await cache.set('falsy', value);
      expect(await cache.get('falsy')).toBe(value);
    }
  });

  it('clear', async () => {
    await cache.set('a', 1);
    await cache.set('b', 2);
    expect(await cache.clear()).toBe(true);
    expect(await cache.mget(['a', 'b'])).toEqual([undefined, undefined]);
    expect(await stored().countKeys()).toBe(0);
  });

  it('wrap computes once for callers at the same time', async () => {
    let calls = 0;
    const compute = async () => {
      calls += 1;
      await new Promise((resolve) => setImmediate(resolve));
      return `value-${calls}`;
    };
    const values = await Promise.all(
      Array.from({ length: 20 }, () => cache.wrap('wrapped', compute)),
    );
    expect(new Set(values)).toEqual(new Set(['value-1']));
    expect(await cache.wrap('wrapped', compute)).toBe('value-1');
    expect(calls).toBe(1);
  });

  it('wrap refreshes below the threshold', async () => {
    let calls = 0;
    const compute = async () => (calls += 1);
    await cache.wrap('fresh', compute, { ttl: 60_000, refreshThreshold: 60_000 });
    expect(await cache.wrap('fresh', compute, { ttl: 60_000, refreshThreshold: 60_000 })).toBe(1);
    await vi.waitFor(() => expect(calls).toBe(2), LONG);
    await vi.waitFor(async () => expect(await cache.get('fresh')).toBe(2), LONG);
  });

  it('an error of the computation is thrown and not stored', async () => {
    await expect(cache.wrap('bad', async () => { throw new Error('no'); })).rejects.toThrow('no');
    expect(await cache.wrap('bad', async () => 1)).toBe(1);
  });

  it('two stores: the value of the second is copied to the first', async () => {
    const memory = new Keyv();
    const two = createCache({ stores: [memory, keyvOn()] });
    await cache.set('shared', 'value');
    expect(await two.wrap('shared', async () => 'other')).toBe('value');
    expect(await memory.get('shared')).toBe('value');
  });

  it('two processes share values', async () => {
    const second = new Client({ preset: 'local' });
    const other = createCache({
      stores: [new Keyv({ store: new LarderStore({ client: second }), namespace })],
    });
    await cache.set('foo', 'bar');
    expect(await other.get('foo')).toBe('bar');
    await other.clear();
    expect(await cache.get('foo')).toBeUndefined();
    await second.close();
  });

  it('events', async () => {
    const events = [];
    cache.on('set', ({ key, error }) => events.push(['set', key, error]));
    cache.on('del', ({ key, error }) => events.push(['del', key, error]));
    await cache.set('foo', 1);
    await cache.del('foo');
    // cache-manager announces a value once per store and once more.
    expect(new Set(events.map(([name, key]) => `${name} ${key}`))).toEqual(
      new Set(['set foo', 'del foo']),
    );
    expect(events.filter(([, , error]) => error !== undefined)).toEqual([]);
  });

  it('disconnect closes the client of the store, if it is its own', async () => {
    const own = createCache({ stores: [new Keyv({ store: new LarderStore(), namespace })] });
    await own.set('foo', 1);
    await own.disconnect();
    await cache.set('bar', 2);
    expect(await cache.get('bar')).toBe(2);
  });
});
