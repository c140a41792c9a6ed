// Keyv 6 on the adapter for its contract. Keyv 6.1 asks for Node 22.19; it runs on Node 20 too.
import { randomUUID } from 'node:crypto';
import { detectKeyvStorage, Keyv, KeyvBridgeAdapter } from 'keyv6';
import { Client, FOREVER } from 'larder-cache';
import { LarderStore } from 'larder-cache/keyv6';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';

/** A busy machine takes its time. */
const LONG = { timeout: 30_000 };

const client = new Client({ preset: 'local' });
afterAll(() => client.close());

let namespace;
let store;
let keyv;
beforeEach(() => {
  namespace = `keyv6-${randomUUID().slice(0, 8)}`;
  store = new LarderStore({ client });
  keyv = new Keyv({ store, namespace });
});

describe('Keyv 6', () => {
  it('uses the adapter without a bridge', () => {
    expect(keyv.store).toBe(store);
    expect(keyv.store).not.toBeInstanceOf(KeyvBridgeAdapter);
    expect(detectKeyvStorage(store)).toMatchObject({ compatible: true, store: 'keyvStorage' });
  });

  it('sets, gets, has and deletes', async () => {
    expect(await keyv.set('a', { n: 1 })).toBe(true);
    expect(await keyv.get('a')).toEqual({ n: 1 });
    expect(await keyv.has('a')).toBe(true);
    expect(await keyv.delete('a')).toBe(true);
    expect(await keyv.delete('a')).toBe(false);
    expect(await keyv.get('a')).toBeUndefined();
    expect(await keyv.has('a')).toBe(false);
  });

  it('does many keys at once', async () => {
    await keyv.setMany([
      { key: 'a', value: 1 },
      { key: 'b', value: 2, ttl: 60_000 },
    ]);
    expect(await keyv.getMany(['a', 'x', 'b'])).toEqual([1, undefined, 2]);
    expect(await keyv.hasMany(['a', 'x', 'b'])).toEqual([true, false, true]);
    expect(await keyv.deleteMany(['a', 'x'])).toEqual([true, false]);
    expect(await keyv.getMany(['a', 'b'])).toEqual([undefined, 2]);
  });

  it('gives Larder the time at which a value expires', async () => {
    await keyv.set('short', 1, 30_000);
    await keyv.set('long', 1);
    const entries = client.namespace(namespace);
    const { ttlRemaining } = await entries.get('short');
    expect(ttlRemaining).toBeGreaterThan(25_000);
    expect(ttlRemaining).toBeLessThanOrEqual(30_000);
    // As long as the server permits: 7 days.
    expect((await entries.get('long')).ttlRemaining).toBeGreaterThan(6.9 * 86_400_000);
  });

  it('a value expires', async () => {
    await keyv.set('a', 1, 50);
    expect(await store.has('a')).toBe(true);
    await vi.waitFor(async () => expect(await store.has('a')).toBe(false), LONG);
    expect(await keyv.get('a')).toBeUndefined();
  });

  it('a time in the past deletes', async () => {
    await store.set('a', 'text');
    expect(await store.set('a', 'text', Date.now() - 1)).toBe(true);
    expect(await store.get('a')).toBeUndefined();
    const past = { key: 'b', value: 'x', expires: Date.now() - 1 };
    expect(await store.setMany([past])).toEqual([true]);
    expect(await store.get('b')).toBeUndefined();
  });

  it('clear empties its namespace, and no other', async () => {
    const other = new Keyv({ store: new LarderStore({ client }), namespace: `${namespace}-other` });
    await keyv.set('a', 1);
    await other.set('a', 2);
    const errors = [];
    keyv.on('error', (error) => errors.push(error));
    await keyv.clear();
    expect(errors).toEqual([]);
    expect(await keyv.get('a')).toBeUndefined();
    expect(await other.get('a')).toBe(2);
  });

  it('iterates over its namespace', async () => {
    const other = new Keyv({ store: new LarderStore({ client }), namespace: `${namespace}-other` });
    await other.set('x', 0);
    const names = Array.from({ length: 250 }, (_, index) => `key-${index}`);
    await keyv.setMany(names.map((key) => ({ key, value: key.length })));
    const found = new Map();
    for await (const [key, value] of keyv.iterator()) found.set(key, value);
    expect([...found.keys()].sort()).toEqual([...names].sort());
    expect(found.get('key-100')).toBe(7);
  });

  it('a namespace of any form, and a prefix', async () => {
    const prefixed = new LarderStore({ client, prefix: 'k6.' });
    const odd = new Keyv({ store: prefixed, namespace: 'Ünì:X' });
    await odd.set('a', 1);
    expect(await odd.get('a')).toBe(1);
    expect(await client.namespace('k6.Ünì:X').has('a')).toBe(true);
    await odd.clear();
    expect(await odd.get('a')).toBeUndefined();
    expect(FOREVER).toBe(Number.POSITIVE_INFINITY);
  });
});
