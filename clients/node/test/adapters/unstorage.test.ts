import { createStorage, prefixStorage } from 'unstorage';
import { describe, expect, test } from 'vitest';
import { Client } from '../../src/index.js';
import { FakeLarder, LarderServer } from '../../src/testing.js';
import { larderStorage } from '../../src/unstorage.js';
import { fresh, until, useServer } from '../support.js';

const used = useServer();
function storage(options = {}) {
  const namespace = fresh();
  const made = createStorage<any>({
    driver: larderStorage({ client: used.client, namespace, ...options }),
  });
  return Object.assign(made, { entries: used.client.namespace(namespace) });
}

describe('items', () => {
  test('set, has, get and remove', async () => {
    const items = storage();
    expect(await items.hasItem('s1:a')).toBe(false);
    expect(await items.getItem('s1:a')).toBe(null);
    await items.setItem('s1:a', 'text');
    expect(await items.hasItem('s1:a')).toBe(true);
    expect(await items.getItem('s1:a')).toBe('text');
    expect(await items.getItem('s1/a')).toBe('text');
    await items.removeItem('s1:a');
    expect(await items.hasItem('s1:a')).toBe(false);
    expect(await items.getItem('s1:a')).toBe(null);
  });

  test.each([
    ['a number', 10],
    ['zero', 0],
    ['false', false],
    ['an object', { a: [1, { b: null }] }],
    ['empty text', ''],
    ['text that looks like JSON', '{"a":1'],
    ['an array', ['x']],
  ])('%s comes back as it was', async (_, value) => {
    const items = storage();
    await items.setItem('a', value);
    expect(await items.getItem('a')).toEqual(value);
  });

  test('an object with toJSON, and one that cannot be stored', async () => {
    const items = storage();
    const value: unknown = { toJSON: () => ({ n: 1 }) };
    await items.setItem('a', value as object);
    expect(await items.getItem('a')).toEqual({ n: 1 });
    await expect(items.setItem('b', new Set())).rejects.toThrow();
  });

  test('undefined removes', async () => {
    const items = storage();
    await items.setItem('a', 1);
    await items.setItem('a', undefined as never);
    expect(await items.hasItem('a')).toBe(false);
  });

  test('keys with any characters, and long ones', async () => {
    const items = storage();
    const long = `long:${'k'.repeat(3000)}`;
    for (const key of ['a*b', '[x]', 'ü:☃', 'with space', long]) {
      await items.setItem(key, key);
      expect(await items.getItem(key)).toBe(key);
    }
  });

  test('many at once', async () => {
    const items = storage();
    await items.setItems([
      { key: 'a', value: 1 as object | number },
      { key: 'b', value: { n: 2 }, options: { ttl: 60 } },
    ]);
    expect(await items.getItems(['a', 'missing', { key: 'b' }])).toEqual([
      { key: 'a', value: 1 },
      { key: 'missing', value: null },
      { key: 'b', value: { n: 2 } },
    ]);
    expect((await items.entries.get('b')).ttlRemaining).toBeLessThanOrEqual(60_000);
    expect(await items.getItems([])).toEqual([]);
  });
});

describe('raw items', () => {
  test('bytes come back as bytes', async () => {
    const items = storage();
    const bytes = new Uint8Array([1, 0, 255]);
    await items.setItemRaw('a', bytes);
    expect([...(await items.getItemRaw('a'))!]).toEqual([1, 0, 255]);
    expect(await items.hasItem('a')).toBe(true);
  });

  test('text and objects come back as they were', async () => {
    const items = storage();
    await items.setItemRaw('t', 'text');
    expect(await items.getItemRaw('t')).toBe('text');
    await items.setItemRaw('o', { n: [1] });
    expect(await items.getItemRaw('o')).toEqual({ n: [1] });
    expect(await items.getItemRaw('missing')).toBe(null);
  });

  test('bytes that are read as an item are text', async () => {
    const items = storage();
    await items.setItemRaw('a', Buffer.from('snow ☃'));
    expect(await items.getItem('a')).toBe('snow ☃');
  });
});

describe('keys', () => {
  test('of all, and below a base', async () => {
    const items = storage();
    for (const key of ['s1:a', 's1:b', 's1:b:c', 's2:a', 'top']) await items.setItem(key, key);
    expect((await items.getKeys()).sort()).toEqual(['s1:a', 's1:b', 's1:b:c', 's2:a', 'top']);
    expect((await items.getKeys('s1')).sort()).toEqual(['s1:a', 's1:b', 's1:b:c']);
    expect(await items.getKeys('s1:b')).toEqual(['s1:b:c']);
    expect(await items.getKeys('none')).toEqual([]);
  });

  test('up to a depth', async () => {
    const items = storage();
    for (const key of ['a', 'b:c', 'b:d:e', 'b:d:f:g']) await items.setItem(key, 1);
    expect((await items.getKeys('', { maxDepth: 0 })).sort()).toEqual(['a']);
    expect((await items.getKeys('', { maxDepth: 1 })).sort()).toEqual(['a', 'b:c']);
    expect((await items.getKeys('', { maxDepth: 2 })).sort()).toEqual(['a', 'b:c', 'b:d:e']);
    expect((await items.getKeys('b', { maxDepth: 1 })).sort()).toEqual(['b:c']);
  });

  test('a base with characters of a pattern', async () => {
    const items = storage();
    await items.setItem('a*:x', 1);
    await items.setItem('ab:x', 1);
    expect(await items.getKeys('a*')).toEqual(['a*:x']);
  });

  test('more than a page', async () => {
    const items = storage();
    const keys = Array.from({ length: 1200 }, (_, index) => `k:${index}`);
    for (let start = 0; start < keys.length; start += 100) {
      await items.setItems(keys.slice(start, start + 100).map((key) => ({ key, value: 1 })));
    }
    expect((await items.getKeys('k')).sort()).toEqual([...keys].sort());
  });
});

describe('clear', () => {
  test('all, and below a base', async () => {
    const items = storage();
    for (const key of ['s1:a', 's1:b:c', 's10:a', 's2:a']) await items.setItem(key, 1);
    // unstorage itself clears mounts only, and never a part of one.
    await items.getMount('').driver.clear!('s1:', {});
    expect((await items.getKeys()).sort()).toEqual(['s10:a', 's2:a']);
    await items.clear();
    expect(await items.getKeys()).toEqual([]);
    expect(await items.getItem('s2:a')).toBe(null);
  });

  test('of a mount leaves the others', async () => {
    const items = storage();
    const namespace = fresh();
    items.mount('cache', larderStorage({ client: used.client, namespace, base: 'app:' }));
    await items.setItem('cache:a', 1);
    await items.setItem('other', 2);
    expect(await used.client.namespace(namespace).has('app:a')).toBe(true);
    expect((await items.getKeys()).sort()).toEqual(['cache:a', 'other']);
    await items.clear('cache');
    expect(await items.getKeys()).toEqual(['other']);
  });

  test('with a base, only what is below it', async () => {
    const namespace = fresh();
    const driver = (base: string) => larderStorage({ client: used.client, namespace, base });
    const one = createStorage({ driver: driver('one') });
    const two = createStorage({ driver: driver('two:') });
    await one.setItem('a', 1);
    await two.setItem('a', 2);
    await one.clear();
    expect(await one.getKeys()).toEqual([]);
    expect(await two.getItem('a')).toBe(2);
    expect(await two.getKeys()).toEqual(['a']);
  });
});

describe('meta and lifetimes', () => {
  test('native meta, and that of unstorage', async () => {
    const items = storage({ ttl: '1h' });
    const before = Date.now();
    await items.setItem('a', 1);
    const meta = await items.getMeta('a');
    expect(meta.mtime!.getTime()).toBeGreaterThan(before - 1000);
    expect(meta.ttl).toBeGreaterThan(3500);
    expect(meta.ttl).toBeLessThanOrEqual(3600);
    await items.setMeta('a', { owner: 'me', mtime: new Date(0) });
    expect(await items.getMeta('a')).toMatchObject({ owner: 'me', mtime: new Date(0) });
    await items.removeItem('a', { removeMeta: true });
    expect(await items.getMeta('a')).toEqual({});
  });

  test('lifetimes are in seconds or text; none and 0 are as long as possible', async () => {
    const items = storage();
    await items.setItem('a', 1, { ttl: 60 });
    expect((await items.entries.get('a')).ttlRemaining).toBeLessThanOrEqual(60_000);
    expect((await items.entries.get('a')).ttlRemaining).toBeGreaterThan(55_000);
    await items.setItem('a', 1, { ttl: '5m' });
    expect((await items.entries.get('a')).ttlRemaining).toBeGreaterThan(290_000);
    for (const ttl of [undefined, 0]) {
      await items.setItem('a', 1, { ttl });
      expect((await items.entries.get('a')).ttlRemaining).toBeGreaterThan(6.9 * 86_400_000);
    }
    await items.setItem('a', 1, { ttl: -1 });
    expect(await items.hasItem('a')).toBe(false);
    await items.setItemRaw('raw', 'x', { ttl: 0.05 });
    await until(async () => !(await items.hasItem('raw')), 'the item expires');
  });

  test('tags', async () => {
    const items = storage();
    await items.setItem('a', 1, { tags: ['users'] });
    await items.setItem('b', 1);
    await items.entries.invalidate({ tags: ['users'] });
    expect(await items.getKeys()).toEqual(['b']);
  });
});

test('watch names what other processes write and remove', async () => {
  const namespace = fresh();
  const driver = () => larderStorage({ client: used.client, namespace, base: 'b' });
  const items = createStorage({ driver: driver() });
  const other = createStorage({ driver: driver() });
  const events: string[] = [];
  const unwatch = await items.watch((event, key) => void events.push(`${event} ${key}`));
  await other.setItem('x:y', 1);
  await until(() => events.includes('update x:y'), 'the item is announced');
  await used.client.namespace(namespace).set('elsewhere', 1);
  await other.removeItem('x:y');
  await until(() => events.includes('remove x:y'), 'the removal is announced');
  await items.setItem('own', 1);
  await until(() => events.includes('update own'), 'an own item is announced');
  expect(events.some((event) => event.includes('elsewhere'))).toBe(false);
  await unwatch();
  await items.dispose();
  await other.dispose();
});

test('watch does not name items as removed during an outage', async () => {
  const fake = new FakeLarder();
  const client = new Client({ transport: fake.transport, logger: null });
  const items = createStorage({ driver: larderStorage({ client }) });
  const events: string[] = [];
  await items.watch((event, key) => void events.push(`${event} ${key}`));
  fake.fail({ methods: ['Get'] });
  await items.setItem('during', 1);
  await until(() => fake.calls.some(({ method }) => method === 'Get'), 'the item is looked for');
  fake.recover();
  // The breaker may answer for a while.
  await until(async () => {
    await items.setItem('after', 1);
    return events.includes('update after');
  }, 'an item is announced');
  expect(events.filter((event) => event.startsWith('remove'))).toEqual([]);
  await items.dispose();
  await client.close();
});

test('prefixStorage', async () => {
  const items = prefixStorage(storage(), 'p');
  await items.setItem('a', 1);
  expect(await items.getKeys()).toEqual(['a']);
  await items.removeItem('a');
  expect(await items.getItem('a')).toBe(null);
});

test('dispose closes a client of its own, and no other', async () => {
  const own = createStorage({
    driver: larderStorage({ connection: { target: used.server.target } }),
  });
  await own.setItem('a', 1);
  await own.dispose();
  await expect(own.getItem('a')).rejects.toThrow(/closed/i);
  const shared = storage();
  await shared.dispose();
  expect(await shared.getItem('a')).toBe(null);
});

test('at an outage nothing is found, and deletions, lists and clear reject', async () => {
  const server = await LarderServer.start();
  const client = new Client({ target: server.target, preset: 'local', logger: null });
  const items = createStorage({ driver: larderStorage({ client }) });
  await items.setItem('a', 1);
  await server.stop();
  expect(await items.getItem('a')).toBe(null);
  expect(await items.hasItem('a')).toBe(false);
  expect(await items.getItemRaw('a')).toBe(null);
  expect(await items.getItems(['a'])).toEqual([{ key: 'a', value: null }]);
  expect(await items.getMeta('a')).toEqual({});
  await items.setItem('a', 1);
  await expect(items.removeItem('a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(items.getKeys()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(items.clear()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await client.close();
});
