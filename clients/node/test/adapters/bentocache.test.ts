import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { afterEach, describe, expect, test } from 'vitest';
import { larderBusDriver, larderDriver } from '../../src/bentocache.js';
import { Client } from '../../src/index.js';
import { LarderServer } from '../../src/testing.js';
import { deferred, fresh, until, useServer } from '../support.js';

const used = useServer();
const driver = (prefix: string, client = used.client) =>
  larderDriver({ client }).factory({ client, prefix });
const bento = (prefix: string, client = used.client) =>
  new BentoCache({
    default: 'main',
    prefix,
    stores: {
      main: bentostore().useL1Layer(memoryDriver({})).useL2Layer(larderDriver({ client })),
      remote: bentostore().useL2Layer(larderDriver({ client })),
    },
  });

test('the prefix is the namespace, and nested namespaces are in the key', async () => {
  const prefix = fresh();
  const root = driver(prefix);
  await root.namespace('users').namespace('posts').set('1', 'text');
  expect((await used.client.namespace(prefix).get('users:posts:1')).value).toBe('text');
});

test('a name with characters of a pattern clears only its own keys', async () => {
  const root = driver(fresh());
  await root.namespace('a*').set('1', 'x');
  await root.namespace('abc').set('1', 'y');
  await root.namespace('[b]').set('1', 'z');
  await root.namespace('a*').clear();
  expect(await root.get('a*:1')).toBeUndefined();
  expect(await root.get('abc:1')).toBe('y');
  await root.namespace('[b]').clear();
  expect(await root.get('[b]:1')).toBeUndefined();
});

test('lifetimes: none and 0 are as long as possible, a negative one deletes', async () => {
  const prefix = fresh();
  const root = driver(prefix);
  const entries = used.client.namespace(prefix);
  await root.set('a', 'x');
  expect((await entries.get('a')).ttlRemaining).toBeGreaterThan(6.9 * 86_400_000);
  await root.set('a', 'x', 0);
  expect((await entries.get('a')).ttlRemaining).toBeGreaterThan(6.9 * 86_400_000);
  await root.set('a', 'x', 5000);
  expect((await entries.get('a')).ttlRemaining).toBeLessThanOrEqual(5000);
  expect(await root.set('a', 'x', -5)).toBe(true);
  expect(await root.get('a')).toBeUndefined();
});

test('pull gives a value to one caller only', async () => {
  const root = driver(fresh());
  await root.set('a', 'x');
  const pulled = await Promise.all(Array.from({ length: 20 }, () => root.pull('a')));
  expect(pulled.filter((value) => value !== undefined)).toEqual(['x']);
});

test('the whole of bentocache: two processes, tags, grace, namespaces', async () => {
  const prefix = fresh();
  const second = new Client({ target: used.server.target });
  const one = bento(prefix).use('remote');
  const two = bento(prefix, second).use('remote');
  let calls = 0;
  const factory = () => {
    calls += 1;
    return { id: 1 };
  };
  const options = { key: 'user:1', ttl: '10m', tags: ['users'], factory };
  expect(await one.getOrSet(options)).toEqual({ id: 1 });
  expect(await two.getOrSet(options)).toEqual({ id: 1 });
  expect(calls).toBe(1);
  await two.deleteByTag({ tags: ['users'] });
  expect(await one.get({ key: 'user:1' })).toBeUndefined();
  await one.namespace('posts').set({ key: '1', value: 'x' });
  await two.namespace('posts').clear();
  expect(await one.namespace('posts').get({ key: '1' })).toBeUndefined();
  await one.set({ key: 'graced', value: 'old', ttl: 1, grace: '1h' });
  const value = await two.getOrSet({
    key: 'graced', ttl: 1, grace: '1h', factory: () => { throw new Error('no'); },
  });
  expect(value).toBe('old');
  await second.close();
});

test('many callers compute once', async () => {
  const cache = bento(fresh());
  const gate = deferred();
  let calls = 0;
  const all = Promise.all(
    Array.from({ length: 30 }, () =>
      cache.getOrSet({
        key: 'a',
        factory: async () => {
          calls += 1;
          await gate.promise;
          return 7;
        },
      }),
    ),
  );
  gate.resolve();
  expect(new Set(await all)).toEqual(new Set([7]));
  expect(calls).toBe(1);
});

test('at an outage reads are misses, and deletions and clear reject', async () => {
  const server = await LarderServer.start();
  const client = new Client({ target: server.target, preset: 'local', logger: null });
  const root = driver(fresh(), client);
  await root.set('a', 'x');
  await server.stop();
  expect(await root.get('a')).toBeUndefined();
  expect(await root.set('a', 'x')).toBe(false);
  await expect(root.clear()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(root.namespace('b').clear()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(root.delete('a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(root.pull('a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  const cache = bento(fresh(), client);
  expect(await cache.getOrSet({ key: 'a', factory: () => 'computed' })).toBe('computed');
  await client.close();
});

describe('the bus', () => {
  const caches: BentoCache<any>[] = [];
  afterEach(async () => {
    await Promise.all(caches.splice(0).map((cache) => cache.disconnectAll()));
  });
  function layered(prefix: string, client: Client, namespace: string) {
    const cache = new BentoCache({
      default: 'main',
      prefix,
      stores: {
        main: bentostore()
          .useL1Layer(memoryDriver({}))
          .useL2Layer(larderDriver({ client }))
          .useBus(larderBusDriver({ client, namespace })),
      },
    });
    caches.push(cache);
    return cache;
  }

  test('a change in one process is seen by the first layer of another', async () => {
    const [prefix, namespace] = [fresh(), fresh('bus')];
    const second = new Client({ target: used.server.target, preset: 'local' });
    const one = layered(prefix, used.client, namespace);
    const two = layered(prefix, second, namespace);
    const read = () => two.get({ key: 'a' });
    await until(async () => {
      // Until the subscription has begun, a change may be missed.
      await one.set({ key: 'probe', value: Math.random() });
      const value = await one.get({ key: 'probe' });
      return (await two.get({ key: 'probe' })) === value;
    }, 'the bus works');
    for (const value of ['x', 'y', 'z']) {
      await one.set({ key: 'a', value });
      await until(async () => (await read()) === value, `${value} is seen`);
    }
    await one.delete({ key: 'a' });
    await until(async () => (await read()) === undefined, 'the deletion is seen');
    await one.namespace('n').set({ key: 'b', value: 1 });
    expect(await two.namespace('n').get({ key: 'b' })).toBe(1);
    await one.namespace('n').clear();
    await until(async () => (await two.namespace('n').get({ key: 'b' })) === undefined, 'clear');
    await second.close();
  });

  test('a bus does not get its own messages, nor those of other channels', async () => {
    const namespace = fresh('bus');
    const busOf = (id: string) => larderBusDriver({ client: used.client, namespace }).factory()
      .setId(id);
    const [one, two] = [busOf('one'), busOf('two')];
    const received: unknown[] = [];
    await one.subscribe('c', (message) => void received.push(message));
    await one.publish('c', 'own');
    await two.publish('other', 'x');
    await two.publish('c', { keys: ['k'], type: 'set' });
    await until(() => received.length > 0, 'the message arrives');
    expect(received).toEqual([{ keys: ['k'], type: 'set' }]);
    await one.unsubscribe('c');
    await two.publish('c', 'late');
    await one.subscribe('c', (message) => void received.push(message));
    await two.publish('c', 'last');
    await until(() => received.length > 1, 'the last message arrives');
    expect(received.slice(1)).toEqual(['last']);
    const errors: unknown[] = [];
    const onError = (error: unknown) => void errors.push(error);
    const three = larderBusDriver({ client: used.client, namespace, onError }).factory();
    await three.subscribe('c', () => {
      throw new Error('no');
    });
    await two.publish('c', 1);
    await until(() => errors.length === 1, 'the error is told');
    await two.publish('c', 2);
    await until(() => errors.length === 2, 'the subscription goes on');
    await three.disconnect();
    await one.disconnect();
    await two.disconnect();
  });

  test('after an outage first layers are cleared, and messages are sent again', async () => {
    const server = await LarderServer.start();
    const port = Number(server.target.split(':').at(-1));
    const client = new Client({ target: server.target, preset: 'local', logger: null });
    const bus = larderBusDriver({ client }).factory();
    const received: any[] = [];
    let connected = 0;
    bus.onReconnect(() => (connected += 1));
    await bus.subscribe('c', (message) => void received.push(message));
    await server.stop();
    await expect(bus.publish('c', 'x')).rejects.toThrow(/not sent: UNAVAILABLE/);
    const again = await LarderServer.start({ port });
    await until(() => connected === 2, 'the bus is connected again');
    expect(received.every(({ type }) => type === 'clear')).toBe(true);
    expect(received.length).toBeGreaterThan(0);
    const other = larderBusDriver({ client }).factory().setId('other');
    await other.publish('c', 'after');
    await until(() => received.at(-1) === 'after', 'a message arrives');
    await bus.disconnect();
    await client.close();
    await again.stop();
  });
});
