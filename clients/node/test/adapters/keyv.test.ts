import Keyv, { type KeyvStoreAdapter } from 'keyv';
import { describe, expect, test } from 'vitest';
import { Client } from '../../src/index.js';
import { LarderStore } from '../../src/keyv.js';
import { LarderStore as LarderStore6 } from '../../src/keyv6.js';
import { LarderServer } from '../../src/testing.js';
import { fresh, until, useServer } from '../support.js';

const used = useServer();
const keyvOn = (namespace: string, options = {}) =>
  new Keyv({ store: new LarderStore({ client: used.client, ...options }), namespace });

describe('Keyv 5', () => {
  test('the namespace of Keyv is that of Larder, and keys keep their prefix', async () => {
    const namespace = fresh();
    const keyv = keyvOn(namespace);
    expect(await keyv.set('a', 1)).toBe(true);
    const read = await used.client.namespace(namespace).get(`${namespace}:a`);
    expect(read.value).toBe('{"value":1}');
  });

  test('without the prefix of Keyv, keys are as they are', async () => {
    const namespace = fresh();
    const keyv = new Keyv({
      store: new LarderStore({ client: used.client }), namespace, useKeyPrefix: false,
    });
    await keyv.set('a', 1);
    expect(await used.client.namespace(namespace).has('a')).toBe(true);
    const found = [];
    for await (const [key, value] of keyv.iterator!(undefined)) found.push([key, value]);
    expect(found).toEqual([['a', 1]]);
    await keyv.clear();
    expect(await keyv.get('a')).toBeUndefined();
  });

  test('a prefix and a default for namespaces', async () => {
    const prefix = `${fresh()}.`;
    const options = { client: used.client, prefix, defaultNamespace: 'none' };
    const store: KeyvStoreAdapter = new LarderStore(options);
    await store.set('a', 'text');
    expect(await used.client.namespace(`${prefix}none`).has('a')).toBe(true);
    store.namespace = 'other';
    expect(await store.get('a')).toBeUndefined();
  });

  test('lifetimes: none and 0 are as long as possible, a negative one deletes', async () => {
    const namespace = fresh();
    const store = new LarderStore({ client: used.client });
    store.namespace = namespace;
    const entries = used.client.namespace(namespace);
    for (const ttl of [undefined, 0]) {
      await store.set('a', 'x', ttl);
      expect((await entries.get('a')).ttlRemaining).toBeGreaterThan(6.9 * 86_400_000);
    }
    await store.set('a', 'x', 5000);
    expect((await entries.get('a')).ttlRemaining).toBeLessThanOrEqual(5000);
    expect(await store.set('a', 'x', -1)).toBe(true);
    expect(await store.has('a')).toBe(false);
  });

  test('values without a serializer keep their types', async () => {
    const keyv = new Keyv({
      store: new LarderStore({ client: used.client }), namespace: fresh(), serialize: undefined,
    });
    await keyv.set('a', { list: [1, null, 'x'] });
    expect(await keyv.get('a')).toEqual({ list: [1, null, 'x'] });
  });

  test('setMany with several lifetimes, in the order of the entries', async () => {
    const namespace = fresh();
    const keyv = keyvOn(namespace);
    expect(
      await keyv.setMany([
        { key: 'a', value: 1, ttl: 60_000 },
        { key: 'b', value: 2 },
        { key: 'c', value: 3, ttl: 60_000 },
      ]),
    ).toEqual([true, true, true]);
    expect(await keyv.get(['a', 'b', 'c', 'd'])).toEqual([1, 2, 3, undefined]);
    const entries = used.client.namespace(namespace);
    expect((await entries.get(`${namespace}:c`)).ttlRemaining).toBeLessThanOrEqual(60_000);
    expect((await entries.get(`${namespace}:b`)).ttlRemaining).toBeGreaterThan(60_000);
  });

  test('empty lists make no calls', async () => {
    const store = new LarderStore({ connection: { target: '127.0.0.1:1', logger: null } });
    expect(await store.getMany([])).toEqual([]);
    expect(await store.deleteMany([])).toBe(false);
    expect(await store.setMany([])).toEqual([]);
    await store.disconnect();
  });

  test('more keys than a batch of the server takes', async () => {
    const keyv = keyvOn(fresh());
    const keys = Array.from({ length: 2100 }, (_, index) => `key-${index}`);
    await keyv.setMany(keys.map((key) => ({ key, value: key })));
    expect(await keyv.get(keys)).toEqual(keys);
    const found = new Set();
    for await (const [key] of keyv.iterator!(undefined)) found.add(key);
    expect(found).toEqual(new Set(keys));
    expect(await keyv.delete(keys)).toBe(true);
    expect(await keyv.get(keys.slice(0, 2))).toEqual([undefined, undefined]);
  });

  test('a value that is too large is refused with an error event', async () => {
    const keyv = keyvOn(fresh());
    const errors: any[] = [];
    keyv.on('error', (error) => errors.push(error));
    expect(await keyv.set('a', 'x'.repeat(2 << 20))).toBe(false);
    expect(errors.map(({ reason }) => reason)).toEqual(['VALUE_TOO_LARGE']);
  });

  test('a client of the store is closed with it, one of the program is not', async () => {
    const own = new LarderStore({ connection: { target: used.server.target } });
    await own.set('a', 'x');
    await own.disconnect();
    await expect(own.get('a')).rejects.toThrow(/closed/i);
    const shared = new LarderStore({ client: used.client });
    await shared.disconnect();
    expect(await shared.get('missing')).toBeUndefined();
    expect(() => new LarderStore({ client: used.client, connection: {} })).toThrow(TypeError);
  });
});

describe.each([
  ['Keyv 5', LarderStore],
  ['Keyv 6', LarderStore6],
])('at an outage, the store for %s', (_, Store) => {
  test('reads are misses, writes are refused, deletions and clear reject', async () => {
    const server = await LarderServer.start();
    const client = new Client({ target: server.target, preset: 'local', logger: null });
    const store = new Store({ client });
    const errors: unknown[] = [];
    store.on('error', (error) => errors.push(error));
    expect(await store.set('a', 'x')).toBe(true);
    await server.stop();
    expect(await store.get('a')).toBeUndefined();
    expect(await store.getMany(['a', 'b'])).toEqual([undefined, undefined]);
    expect(await store.has('a')).toBe(false);
    expect(await store.hasMany(['a'])).toEqual([false]);
    expect(await store.set('a', 'x')).toBe(false);
    expect(await store.setMany([{ key: 'a', value: 'x' }])).toEqual([false]);
    expect(errors).toHaveLength(4);
    await expect(store.clear()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(store.delete('a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(store.deleteMany(['a'])).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(store.iterator().next()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await client.close();
  });
});

test('Keyv itself goes on at an outage, and works again after it', async () => {
  const server = await LarderServer.start();
  const port = Number(server.target.split(':').at(-1));
  const client = new Client({ target: server.target, preset: 'local', logger: null });
  const store = new LarderStore({ client });
  const keyv = new Keyv({ store, namespace: fresh() });
  const strict = new Keyv({ store: new LarderStore({ client }), throwOnErrors: true });
  const errors: unknown[] = [];
  keyv.on('error', (error) => errors.push(error));
  await server.stop();
  expect(await keyv.get('a')).toBeUndefined();
  expect(await keyv.set('a', 1)).toBe(false);
  await keyv.clear();
  expect(errors.length).toBeGreaterThan(2);
  await expect(strict.clear()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  const again = await LarderServer.start({ port });
  await until(() => keyv.set('a', 1), 'a value is stored again');
  expect(await keyv.get('a')).toBe(1);
  await client.close();
  await again.stop();
});
