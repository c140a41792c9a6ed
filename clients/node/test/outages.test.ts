import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Breaker } from '../src/core/breaker.js';
import { Client, type ClientOptions, Unavailable } from '../src/index.js';
import { CacheServiceService } from '../src/gen/larder/v1/cache_service.js';
import { FakeLarder, LarderServer } from '../src/testing.js';
import { Authorization } from '../src/transport/credentials.js';
import { until } from './support.js';

/** A port on which nothing listens. */
const NOBODY = '127.0.0.1:1';

function clientOf(options: ClientOptions): Client {
  const client = new Client({ logger: null, preset: 'local', ...options });
  onTestFinished(() => client.close());
  return client;
}

function isUnavailable(call: PromiseSettledResult<unknown>): boolean {
  return call.status === 'rejected' && call.reason instanceof Unavailable;
}

describe('without a server', () => {
  test('reads are misses, writes are not stored, loaders run, and the rest throws', async () => {
    const client = clientOf({ target: NOBODY });
    const cache = client.namespace('n');
    expect(await cache.get('k')).toMatchObject({
      outcome: 'MISS', degraded: true, error: { code: 'UNAVAILABLE' },
    });
    expect((await cache.getMany(['a', 'b'])).get('b')).toMatchObject({ degraded: true });
    expect(await cache.has('k')).toBe(false);
    expect(await cache.set('k', 1)).toMatchObject({
      stored: false, reason: 'UNAVAILABLE', degraded: true,
    });
    expect((await cache.setMany({ k: 1 })).get('k')).toMatchObject({ reason: 'UNAVAILABLE' });
    expect(await cache.touch('k', '1m')).toMatchObject({ found: false, degraded: true });
    expect(await cache.getOrFetch('k', () => 5)).toMatchObject({
      outcome: 'HIT', value: 5, tier: 'loader', degraded: true, stored: { reason: 'UNAVAILABLE' },
    });
    expect(await cache.getOrFetch('k')).toMatchObject({ outcome: 'MISS', degraded: true });
    const many = await cache.getOrFetchMany(['a', 'b'], () => ({ a: 1 }));
    expect(many.get('a')).toMatchObject({ value: 1, stored: { reason: 'UNAVAILABLE' } });
    expect(many.get('b')).toMatchObject({ outcome: 'MISS' });
    const failure = new RangeError('no');
    await expect(cache.getOrFetch('k', () => Promise.reject(failure))).rejects.toBe(failure);
    const thrown = await Promise.allSettled([
      cache.delete('k'), cache.deleteMany(['k']), cache.invalidate({ tags: ['t'] }),
      cache.invalidateNamespace(), cache.increment('k'), cache.patch('k', { merge: {} }),
      cache.publishEvent('e'), cache.stats(), cache.countKeys(), cache.listKeys().next(),
    ]);
    expect(thrown.every(isUnavailable)).toBe(true);
    expect(client.counters().n!.fail_open).toBeGreaterThanOrEqual(8);
    await expect(client.connect(200)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  test('onError: raise throws everywhere', async () => {
    const cache = clientOf({ target: NOBODY }).namespace('n', { onError: 'raise' });
    const thrown = await Promise.allSettled([
      cache.get('k'), cache.getMany(['k']), cache.set('k', 1), cache.touch('k', 1),
      cache.has('k'), cache.getOrFetch('k', () => 1), cache.getOrFetchMany(['k'], () => ({})),
    ]);
    expect(thrown.every(isUnavailable)).toBe(true);
    expect(() => clientOf({ onError: 'never' as never })).toThrow('onError');
  });

  test('calls of a process still join', async () => {
    const cache = clientOf({ target: NOBODY }).namespace('n');
    let calls = 0;
    const load = async () => {
      calls += 1;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return calls;
    };
    const results = await Promise.all([1, 2, 3].map(() => cache.getOrFetch('k', load)));
    expect(results.map(({ value }) => value)).toEqual([1, 1, 1]);
  });

  test('the breaker answers after five outages, an outage is logged once', async () => {
    const lines: string[] = [];
    const logger = { warn: (line: string) => lines.push(line), info: (line: string) =>
      lines.push(line) };
    const server = await LarderServer.start();
    const client = clientOf({ target: server.target, logger });
    const cache = client.namespace('n');
    await cache.set('k', 1);
    expect(lines).toEqual([]);
    await server.stop();
    await until(async () => {
      const { error } = await cache.get('k');
      return (error as { reason?: string }).reason === 'BREAKER_OPEN';
    }, 'the breaker is open');
    let spared = 0;
    for (let call = 0; call < 100; call += 1) {
      const { error } = await cache.get('k');
      if ((error as { reason?: string }).reason === 'BREAKER_OPEN') spared += 1;
    }
    // One call tries the server now and then.
    expect(spared).toBeGreaterThan(80);
    // Calls that throw are tried all the same.
    await expect(cache.delete('k')).rejects.toMatchObject({ reason: '' });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch('the cache is away');
    const again = await LarderServer.start({ port: Number(server.target.split(':')[1]) });
    onTestFinished(() => again.stop());
    const back = performance.now();
    await until(async () => !(await cache.get('k')).degraded, 'the cache is back');
    expect(performance.now() - back).toBeLessThan(5000);
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatch('answers again');
  });
});

test('a trial that has not ended does not hold up the next', async () => {
  const breaker = new Breaker();
  for (let call = 0; call < 5; call += 1) breaker.failure(false);
  const tries = (): boolean => breaker.allow() === 'trial';
  await until(tries, 'a call tries');
  await until(tries, 'another call tries');
  breaker.cancelled(true);
  expect(tries()).toBe(true);
});

test('calls that are always sent do not keep the breaker open', async () => {
  const fake = new FakeLarder();
  const client = new Client({ transport: fake.transport, logger: null });
  onTestFinished(() => client.close());
  const cache = client.namespace('n');
  await cache.set('k', 1);
  fake.fail({ code: 'UNAVAILABLE', methods: ['Delete'] });
  for (let call = 0; call < 5; call += 1) {
    await expect(cache.delete('k')).rejects.toThrow(Unavailable);
  }
  expect(await cache.get('k')).toMatchObject({ error: { reason: 'BREAKER_OPEN' } });
  await until(async () => {
    await expect(cache.delete('k')).rejects.toThrow(Unavailable);
    return (await cache.get('k')).value === 1;
  }, 'a read is tried');
});

describe('a server that is silent', () => {
  test('costs the deadline until the breaker opens, and is found again', async () => {
    const server = await LarderServer.start();
    onTestFinished(() => server.stop());
    const client = clientOf({ target: server.target, callTimeout: 100 });
    const cache = client.namespace('n');
    await until(async () => (await cache.set('k', 1)).stored, 'the value is stored');
    await server.pause();
    const started = performance.now();
    expect(await cache.get('k')).toMatchObject({ error: { code: 'DEADLINE_EXCEEDED' } });
    expect(performance.now() - started).toBeLessThan(3000);
    await server.resume();
    await until(async () => (await cache.get('k')).found, 'the server is found');
  });

  test('lambda: the next call takes another connection', async () => {
    const server = await LarderServer.start();
    onTestFinished(() => server.stop());
    const client = clientOf({ target: server.target, preset: 'lambda', callTimeout: 100 });
    const cache = client.namespace('n');
    const before = client.stubs.cache.getChannel();
    await until(async () => (await cache.set('k', 1)).stored, 'the value is stored');
    await server.pause();
    await cache.get('k');
    await server.resume();
    await until(async () => (await cache.get('k')).found, 'the server is found');
    expect(client.stubs.cache.getChannel()).not.toBe(before);
    const idle = clientOf({ target: server.target, maxIdle: 20 });
    const first = idle.stubs.cache.getChannel();
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect((await idle.namespace('n').get('k')).found).toBe(true);
    expect(idle.stubs.cache.getChannel()).not.toBe(first);
  });
});

/** A server that fails as it is told, and keeps the metadata of its calls. */
async function failingServer(codes: status[]) {
  const calls: { path: string; metadata: Metadata }[] = [];
  const server = new Server();
  const fail = (path: string) => (call: any, answer: any) => {
    calls.push({ path, metadata: call.metadata });
    const code = codes.shift();
    const metadata = new Metadata();
    metadata.set('from', 'the server');
    if (code === undefined) answer(null, {});
    else answer({ code, details: 'as told', metadata });
  };
  const methods = Object.entries(CacheServiceService);
  const handlers = Object.fromEntries(methods.map(([name, { path }]) => [name, fail(path)]));
  // All answers are the empty message.
  const responseSerialize = () => Buffer.alloc(0);
  const service = Object.fromEntries(
    methods.map(([name, method]) => [name, { ...method, responseSerialize }]),
  );
  server.addService(service as never, handlers as never);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  onTestFinished(() => server.forceShutdown());
  return { target: `127.0.0.1:${port}`, calls };
}

describe('retries', () => {
  const { UNAVAILABLE, RESOURCE_EXHAUSTED, INTERNAL } = status;

  test('only UNAVAILABLE, and at most three attempts', async () => {
    const twice = await failingServer([UNAVAILABLE, UNAVAILABLE]);
    const client = clientOf({ target: twice.target, onError: 'raise' });
    await client.namespace('n').delete('k');
    expect(twice.calls).toHaveLength(3);
    expect(client.counters().n!.retries).toBe(2);
    for (const codes of [[UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE]]) {
      const server = await failingServer(codes);
      await expect(clientOf({ target: server.target }).namespace('n').delete('k')).rejects.toThrow(
        'as told',
      );
      expect(server.calls).toHaveLength(3);
    }
    for (const code of [RESOURCE_EXHAUSTED, INTERNAL]) {
      const server = await failingServer([code, code]);
      expect(await clientOf({ target: server.target }).namespace('n').get('k')).toMatchObject({
        degraded: true,
      });
      expect(server.calls).toHaveLength(1);
    }
  });

  test('never increment, patch, and what has a condition', async () => {
    for (const call of [
      (client: Client) => client.namespace('n').increment('k'),
      (client: Client) => client.namespace('n').patch('k', { merge: {} }),
      (client: Client) => client.namespace('n').set('k', 1, { ifAbsent: true }),
      (client: Client) => client.namespace('n').delete('k', { ifVersion: 'v' }),
      (client: Client) => client.namespace('n').delete('k', { returnValue: true }),
    ]) {
      const server = await failingServer([UNAVAILABLE, UNAVAILABLE]);
      const client = clientOf({ target: server.target, onError: 'raise' });
      await expect(call(client)).rejects.toBeInstanceOf(Unavailable);
      expect(server.calls).toHaveLength(1);
    }
  });

  test('the budget ends them', async () => {
    const server = await failingServer(Array.from({ length: 100 }, () => UNAVAILABLE));
    const cache = clientOf({ target: server.target }).namespace('n');
    for (let call = 0; call < 10; call += 1) await cache.delete('k').catch(() => {});
    expect(server.calls.length).toBeLessThan(16);
  });

  test('metadata: token, schema version and the name of the client', async () => {
    const server = await failingServer([]);
    let tokens = 0;
    const client = clientOf({
      target: server.target,
      schemaVersion: 'v2',
      token: async () => {
        tokens += 1;
        return { token: `t${tokens}`, expiresIn: 60_000 };
      },
    });
    await Promise.all([client.namespace('n').get('a'), client.namespace('n').get('b')]);
    await client.namespace('n').get('c');
    expect(tokens).toBe(1);
    const { metadata } = server.calls[2]!;
    expect(metadata.get('authorization')).toEqual(['Bearer t1']);
    expect(metadata.get('larder-schema-version')).toEqual(['v2']);
    expect(String(metadata.get('user-agent'))).toMatch(/^larder-node\/\d/);
  });

  test('a deadline that the server states is an answer: the connection is kept', async () => {
    const server = await failingServer([status.DEADLINE_EXCEEDED]);
    const client = clientOf({ target: server.target, preset: 'lambda' });
    const before = client.stubs.cache.getChannel();
    expect(await client.namespace('n').get('k')).toMatchObject({
      error: { code: 'DEADLINE_EXCEEDED', message: 'as told' },
    });
    expect(client.stubs.cache.getChannel()).toBe(before);
  });

  test('a stream that was cancelled before it begins makes no call', async () => {
    const server = await failingServer([]);
    const client = clientOf({ target: server.target });
    const channel = client.stubs.cache.getChannel();
    const { createCall } = channel;
    let calls = 0;
    channel.createCall = (...args) => {
      calls += 1;
      return Reflect.apply(createCall, channel, args);
    };
    const signal = AbortSignal.abort(new Error('gone'));
    await expect(client.namespace('n').getMany(['k'], { signal })).rejects.toThrow('gone');
    expect(calls).toBe(0);
    await client.namespace('n').getMany(['k']).catch(() => {});
    expect(calls).toBe(1);
  });

  test('a token that is refused is asked for again', async () => {
    const server = await failingServer([status.UNAUTHENTICATED]);
    let tokens = 0;
    const client = clientOf({ target: server.target, token: () => `t${(tokens += 1)}` });
    await client.namespace('n').get('k');
    expect(server.calls.map(({ metadata }) => metadata.get('authorization')[0])).toEqual([
      'Bearer t1', 'Bearer t2',
    ]);
    const broken = clientOf({ target: server.target, token: () => { throw new Error('no idp'); } });
    expect(await broken.namespace('n').get('k')).toMatchObject({ error: { reason: 'NO_TOKEN' } });
  });
});

describe('a provider of tokens that does not answer', () => {
  test('costs a call its time, and not more', async () => {
    const server = await failingServer([]);
    const client = clientOf({
      target: server.target, callTimeout: 50, connectTimeout: 50, wait: 10, waitMargin: 50,
      token: () => new Promise<string>(() => {}),
    });
    const cache = client.namespace('n');
    const facts = { degraded: true, error: { code: 'DEADLINE_EXCEEDED', reason: 'NO_TOKEN' } };
    expect(await cache.get('k')).toMatchObject(facts);
    expect((await cache.getMany(['k'])).get('k')).toMatchObject(facts);
    expect(await cache.getOrFetch('k', () => 1)).toMatchObject({ value: 1, degraded: true });
    const leaving = new AbortController();
    const call = cache.delete('k', { signal: leaving.signal, timeout: 60_000 });
    leaving.abort(new Error('gone'));
    await expect(call).rejects.toThrow('gone');
    expect(server.calls).toEqual([]);
  });

  test('is asked again after a while', async () => {
    let asked = 0;
    const authorization = new Authorization(() => {
      asked += 1;
      return asked === 1 ? new Promise<string>(() => {}) : 't2';
    });
    void authorization.get();
    void authorization.get();
    expect(asked).toBe(1);
    (authorization as unknown as { askedAt: number }).askedAt = -Infinity;
    expect(await authorization.get()).toBe('Bearer t2');
    expect(authorization.get()).toBe('Bearer t2');
  });
});

test('calls of an open handle and of one that raises do not join', async () => {
  const fake = new FakeLarder();
  fake.fail({ after: 50 });
  const client = clientOf({ transport: fake.transport });
  const raising = client.namespace('n', { onError: 'raise' }).getOrFetch('k', () => 1);
  const open = client.namespace('n').getOrFetch('k', () => 2);
  await expect(raising).rejects.toBeInstanceOf(Unavailable);
  expect(await open).toMatchObject({ value: 2, degraded: true, joined: false });
});
