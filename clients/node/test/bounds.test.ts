// Tables have a bound, and what is not used any more leaves nothing behind.
import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Client, type ClientOptions, type Namespace, type Transport } from '../src/index.js';
import { larderError } from '../src/core/errors.js';
import { FakeLarder } from '../src/testing.js';
import { deferred, until } from './support.js';

function start(options: ClientOptions = {}) {
  const fake = new FakeLarder();
  const client = new Client({ transport: fake.transport, logger: null, ...options });
  onTestFinished(() => client.close());
  return { fake, client };
}

/** Collects garbage, without an option of Node. */
function collect(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

test('namespaces beyond the bound are counted together', async () => {
  const { client } = start();
  for (let index = 0; index < 1500; index += 1) await client.namespace(`n${index}`).get('k');
  const counters = client.counters();
  expect(Object.keys(counters)).toHaveLength(1001);
  expect(counters.n0!.misses).toBe(1);
  expect(counters._other!.misses).toBe(500);
  // Those that were first are still counted by themselves.
  await client.namespace('n0').get('k');
  expect(client.counters().n0!.misses).toBe(2);
});

describe('near caches', () => {
  test('of handles that are not used any more end, and with the last their stream', async () => {
    const { fake, client } = start();
    const open = () =>
      [...(fake as unknown as { watches: { watchers: Set<unknown> } }).watches.watchers].length;
    const used: { last?: Namespace } = {};
    for (let round = 0; round < 200; round += 1) {
      used.last = client.namespace('requests', { nearCache: true });
      await used.last.get('k');
    }
    await until(open, 'the stream is open');
    expect([open(), used.last!.name]).toEqual([1, 'requests']);
    delete used.last;
    await until(() => (collect(), open() === 0), 'the stream has ended', 15_000);
    // Another handle has another stream.
    const kept = client.namespace('requests', { nearCache: true });
    await kept.set('k', 1);
    await until(async () => (await kept.get('k')).tier === 'client', 'the value is kept');
    collect();
    await new Promise((resolve) => setImmediate(resolve));
    expect((await kept.get('k')).tier).toBe('client');
  });

  test('of more namespaces than the bound are left out, which is logged once', async () => {
    const warnings: string[] = [];
    const { client } = start({ logger: { warn: (line) => warnings.push(line), info() {} } });
    const handles = Array.from({ length: 1003 }, (_, index) =>
      client.namespace(`n${index}`, { nearCache: true }),
    );
    expect(handles.filter(({ scope }) => scope.near !== undefined)).toHaveLength(1000);
    expect(warnings).toHaveLength(1);
    await handles[1002]!.set('k', 1);
    expect((await handles[1002]!.get('k')).value).toBe(1);
  });

  test('a read with a wrong option leaves nothing behind', async () => {
    const { client } = start();
    const near = client.namespace('n', { nearCache: true });
    await near.set('k', 1);
    await until(async () => (await near.get('k')).tier === 'client', 'the value is kept');
    const { pending } = near.scope.near as unknown as { pending: Set<unknown> };
    const wrong = { maxStale: -1 };
    for (const call of [
      () => near.get('other', wrong), () => near.getMany(['other'], wrong),
      () => near.getOrFetch('other', () => 1, wrong),
      () => near.get('other', { signal: AbortSignal.abort() }),
    ]) {
      await expect(call()).rejects.toThrow();
      expect(pending.size).toBe(0);
    }
  });
});

test('a signal that many calls have used has no listeners left', async () => {
  const { client } = start();
  const cache = client.namespace('n');
  const { signal } = new AbortController();
  await cache.set('k', 1, { signal });
  await cache.get('k', { signal });
  await cache.getMany(['k', 'l'], { signal });
  await cache.getOrFetch('f', () => 1, { signal, timeout: 100 });
  await cache.getOrFetchMany(['m', 'n'], () => ({ m: 1 }), { signal });
  const gate = deferred<number>();
  const both = [1, 2].map(() => cache.getOrFetch('g', () => gate.promise, { signal }));
  gate.resolve(1);
  await Promise.all(both);
  for await (const { type } of cache.watch({ signal })) if (type === 'ready') break;
  await until(() => getEventListeners(signal, 'abort').length === 0, 'no listener is left');
});

test('a batch that fails gives all its leases up', async () => {
  const { fake, client } = start({ onError: 'raise' });
  const cache = client.namespace('n');
  // The server has leases for some keys, and an error for another.
  const { transport } = fake;
  const broken: Transport = Object.assign(Object.create(transport), {
    async *stream(method: any, request: any, attempt: any) {
      for await (const message of transport.stream(method, request, attempt) as any) {
        if (method.name === 'BatchGetOrFetch') {
          const error = { reason: 'ORIGIN_TIMEOUT', message: 'no', retryAfter: undefined };
          message.results.at(-1).result = { $case: 'error', value: error };
        }
        yield message;
      }
    },
    unary: transport.unary.bind(transport),
    close: transport.close.bind(transport),
  });
  const other = new Client({ transport: broken, logger: null, onError: 'raise' });
  onTestFinished(() => other.close());
  const call = other.namespace('n').getOrFetchMany(['a', 'b', 'c'], () => ({}));
  await expect(call).rejects.toMatchObject({ reason: 'ORIGIN_TIMEOUT' });
  // A lease that is renewed for ever would make this wait.
  for (const key of ['a', 'b']) {
    expect(await cache.getOrFetch(key, () => 1, { timeout: 2000 })).toMatchObject({
      stored: { stored: true },
    });
  }
});

test('a batch whose stream breaks gives up the leases that have come', async () => {
  const { fake, client } = start();
  const { transport } = fake;
  let streams = 0;
  const breaking: Transport = Object.assign(Object.create(transport), {
    async *stream(method: any, request: any, attempt: any) {
      streams += 1;
      yield* transport.stream(method, request, attempt) as any;
      throw larderError('UNAVAILABLE', 'broken');
    },
  });
  const other = new Client({ transport: breaking, logger: null });
  onTestFinished(() => other.close());
  const many = await other.namespace('n').getOrFetchMany(['a', 'b'], () => ({ a: 1, b: 2 }));
  expect(many.get('b')).toMatchObject({ value: 2, degraded: true });
  // Another attempt would wait for the leases of the first.
  expect(streams).toBe(1);
  for (const key of ['a', 'b']) {
    expect(await client.namespace('n').getOrFetch(key, () => 3, { timeout: 500 })).toMatchObject({
      stored: { stored: true },
    });
  }
});

test('a provider of tokens that fails in a renewal ends no process', async () => {
  const { fake } = start();
  const { transport } = fake;
  const failing: Transport = Object.assign(Object.create(transport), {
    async unary(method: any, request: any, attempt: any) {
      if (method.name === 'Renew') throw new TypeError('of the provider');
      return transport.unary(method, request, attempt);
    },
    close: transport.close.bind(transport),
  });
  fake.store.settings = (() => {
    const settings = fake.store.settings.bind(fake.store);
    return (namespace: string) => ({ ...settings(namespace), leaseTtl: 90 });
  })();
  const warnings: string[] = [];
  const logger = { warn: (line: string) => warnings.push(line), info() {} };
  const client = new Client({ transport: failing, logger });
  onTestFinished(() => client.close());
  const gate = deferred<number>();
  const call = client.namespace('n').getOrFetch('k', () => gate.promise);
  await until(() => warnings.length, 'the renewal has failed');
  gate.resolve(1);
  expect((await call).value).toBe(1);
  expect(warnings).toEqual(['larder: a lease is not renewed: TypeError: of the provider']);
});

test('what a provider of tokens returns wrongly is an outage of the reads', async () => {
  for (const token of ['', 'a b', undefined, null, { token: 5 }]) {
    const client = new Client({
      target: '127.0.0.1:1', logger: null, token: () => token as never,
    });
    expect(await client.namespace('n').get('k')).toMatchObject({
      outcome: 'MISS', degraded: true, error: { reason: 'NO_TOKEN' },
    });
    await client.close();
  }
});
