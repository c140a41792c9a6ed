import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Change, Client, type Namespace, type NamespaceOptions } from '../src/index.js';
import { globMatcher } from '../src/core/globs.js';
import { LarderServer } from '../src/testing.js';
import { fresh, until, useServer } from './support.js';

const used = useServer();

/** A handle with a near cache that has a feed. */
async function near(options: NamespaceOptions<any> = { nearCache: true }): Promise<Namespace> {
  const cache = used.client.namespace(fresh('near'), { nearCache: true, ...options });
  await warm(cache);
  return cache;
}

async function warm(cache: Namespace): Promise<void> {
  await used.client.namespace(cache.name).set('warm', 1);
  await until(async () => (await cache.get('warm')).tier === 'client', 'the feed is ready');
}

/**
 * Waits until a value is kept for a while: the event of the write that made it may still be on its
 * way, and drops it again.
 */
async function stays(check: () => Promise<boolean>): Promise<void> {
  let since: number | undefined;
  await until(async () => {
    since = (await check()) ? (since ?? performance.now()) : undefined;
    return since !== undefined && performance.now() - since > 150;
  }, 'the value is kept');
}

/** Whether the next read is answered by the process. */
const kept = async (cache: Namespace, key: string) => (await cache.get(key)).tier === 'client';

describe('near cache', () => {
  test('a value that was read is kept, with its facts', async () => {
    const cache = await near();
    await cache.set('k', { a: [1] }, { ttl: '1m', tags: ['t'] });
    const first = await cache.get('k');
    expect(first.tier).toBe('store');
    await stays(() => kept(cache, 'k'));
    const second = await cache.get('k');
    expect(second).toMatchObject({
      outcome: 'HIT', tier: 'client', value: { a: [1] }, version: first.version, tags: ['t'],
    });
    expect(second.ttlRemaining).toBeLessThanOrEqual(60_000);
    expect(second.age).toBeGreaterThanOrEqual(0);
    expect(() => { second.value.a.push(2); }).toThrow(TypeError);
    expect((await cache.get('k', { consistent: true })).tier).toBe('store');
    expect((await cache.getMany(['k', 'none'])).get('k')?.tier).toBe('client');
    expect((await cache.getOrFetch('k', () => 0)).tier).toBe('client');
    expect(used.client.counters()[cache.wireName]!.near_hits).toBeGreaterThanOrEqual(3);
  });

  test('values of batches and of getOrFetch are kept, bytes are copied', async () => {
    const cache = await near();
    await cache.setMany({ a: 1, b: Buffer.from('bytes') });
    const tier = (results: Map<string, { tier?: string }>) => results.get('a')!.tier;
    await stays(async () => tier(await cache.getMany(['a'])) === 'client');
    await stays(async () => (await cache.getOrFetch('b', () => 0)).tier === 'client');
    const { value } = await cache.get('b');
    value[0] = 0;
    expect(String((await cache.get('b')).value)).toBe('bytes');
  });

  test('params make other entries', async () => {
    const cache = await near();
    await cache.set('k', 1, { params: { p: '1' } });
    await stays(async () => (await cache.get('k', { params: { p: '1' } })).tier === 'client');
    expect((await cache.get('k', { params: { p: '2' } })).outcome).toBe('MISS');
    await cache.set('k', 2, { params: { p: '1' } });
    expect((await cache.get('k', { params: { p: '1' } })).value).toBe(2);
  });

  test('own writes are seen at once', async () => {
    const cache = await near();
    for (let round = 0; round < 50; round += 1) {
      await cache.set('k', round);
      expect((await cache.get('k')).value).toBe(round);
      expect((await cache.get('k')).value).toBe(round);
    }
    await cache.delete('k');
    expect((await cache.get('k')).outcome).toBe('MISS');
    await cache.increment('n');
    await cache.get('n');
    await cache.increment('n');
    expect((await cache.get('n')).value).toBe('2');
    const plain = used.client.namespace(cache.name);
    await cache.get('n');
    await plain.set('n', 'other');
    expect((await cache.get('n')).value).toBe('other');
    await plain.invalidateNamespace();
    expect((await cache.get('n')).outcome).toBe('MISS');
  });

  test('writes and invalidations of others arrive', async () => {
    const cache = await near();
    const client = new Client({ target: used.server.target, preset: 'local' });
    const other = client.namespace(cache.name);
    const keep = async (key: string) => {
      await other.set(key, 1, { tags: ['t'] });
      await stays(() => kept(cache, key));
    };
    const gone = (key: string, what: string) =>
      until(async () => (await cache.get(key)).outcome === 'MISS', what);
    await keep('k');
    await other.set('k', 2);
    await until(async () => (await cache.get('k')).value === 2, 'the write arrives');
    await keep('k');
    await other.delete('k');
    await gone('k', 'the deletion arrives');
    await keep('k');
    await other.invalidate({ tags: ['t'] });
    await gone('k', 'the tag arrives');
    await keep('k:1');
    await keep('other');
    await other.invalidate({ globs: ['k:*'] });
    await gone('k:1', 'the pattern arrives');
    expect((await cache.get('other')).value).toBe(1);
    await other.invalidateNamespace();
    await gone('other', 'the invalidation arrives');
    await client.close();
  });

  test('no value outlives its TTL', async () => {
    const cache = await near();
    // The event of a write may drop the value again until its TTL is over.
    await until(async () => {
      await cache.set('k', 1, { ttl: 300 });
      await cache.get('k');
      return kept(cache, 'k');
    }, 'the value is kept');
    await until(async () => (await cache.get('k')).outcome !== 'HIT', 'the value ends');
  });

  test('bounds hold', async () => {
    const cache = await near({ nearCache: { maxEntries: 3, maxBytes: 5000 } });
    await cache.setMany({ a: 1, b: 2, c: 3, d: 4, large: 'x'.repeat(5000) });
    await stays(async () => {
      for (const key of ['a', 'b', 'c']) await cache.get(key);
      return (await kept(cache, 'a')) && (await kept(cache, 'b')) && (await kept(cache, 'c'));
    });
    await stays(async () => {
      await cache.get('a');
      await cache.get('d');
      return (await kept(cache, 'a')) && cache.scope.near!.size === 3;
    });
    await cache.get('large');
    expect(await kept(cache, 'large')).toBe(false);
    expect(() => used.client.namespace('n', { nearCache: { maxBytes: 0 } })).toThrow('maxBytes');
  });

  test('without a feed it is empty and unused', async () => {
    const server = await LarderServer.start();
    const client = new Client({ target: server.target, logger: null });
    const cache = client.namespace('n', { nearCache: true });
    await cache.set('k', 1);
    await until(() => kept(cache, 'k'), 'the value is kept');
    await server.stop();
    await until(async () => (await cache.get('k')).outcome === 'MISS', 'the end is noticed');
    const port = Number(server.target.split(':')[1]);
    const again = await LarderServer.start({ port });
    await until(async () => (await cache.set('k', 2)).stored, 'the server is back');
    await until(() => kept(cache, 'k'), 'the feed is back');
    // A server that is silent is noticed by its missing heartbeats.
    await again.pause();
    await until(async () => !(await kept(cache, 'k')), 'the silence is noticed', 15_000);
    await again.resume();
    await client.close();
    await again.stop();
  }, 40_000);
});

describe('watch', () => {
  test('changes are delivered', async () => {
    const cache = used.client.namespace(fresh());
    const events: Change[] = [];
    const ending = new AbortController();
    const done = (async () => {
      for await (const event of cache.watch({ keys: true, signal: ending.signal })) {
        events.push(event);
      }
    })();
    await until(() => events.length, 'ready');
    expect(events[0]).toEqual({ type: 'ready', resumed: false });
    await cache.set('k', 1);
    await cache.invalidate({ tags: ['a', 'b'], globs: ['x*'] });
    await cache.invalidateNamespace();
    await until(() => events.some(({ type }) => type === 'namespace'), 'all events');
    expect(events).toContainEqual({ type: 'keys', keys: [{ key: 'k', paramsDigest: '' }] });
    expect(events).toContainEqual({ type: 'tags', tags: ['a', 'b'] });
    expect(events).toContainEqual({ type: 'pattern', glob: 'x*' });
    ending.abort(new Error('enough'));
    await expect(done).rejects.toThrow('enough');
  });

  test('a new connection begins with reset', async () => {
    const server = await LarderServer.start();
    const client = new Client({ target: server.target, logger: null });
    const types: string[] = [];
    const done = (async () => {
      for await (const event of client.namespace('n').watch()) types.push(event.type);
    })();
    await until(() => types.length, 'ready');
    await server.stop();
    const again = await LarderServer.start({ port: Number(server.target.split(':')[1]) });
    await until(() => types.filter((type) => type === 'ready').length === 2, 'ready again');
    expect(types).toContain('reset');
    await client.close();
    await done;
    await again.stop();
  });
});

describe('silence', () => {
  /** A near cache with a value, and a watch, on a server of their own. */
  async function silenced() {
    const server = await LarderServer.start();
    const client = new Client({ target: server.target, preset: 'local', logger: null });
    const cache = client.namespace('n', { nearCache: true });
    const events: Change[] = [];
    const ended = (async () => {
      for await (const event of cache.watch()) events.push(event);
    })();
    onTestFinished(async () => {
      await client.close();
      await ended;
      await server.stop();
    });
    await until(() => events.length, 'ready');
    await cache.set('k', 1);
    await stays(() => kept(cache, 'k'));
    const types = () => events.map(({ type }) => type).join(' ');
    return { server, client, cache, events, types };
  }

  test('of a server empties the near cache and is a reset, without any read', async () => {
    const { server, cache, events, types } = await silenced();
    const near = cache.scope.near!;
    expect(near.size).toBe(1);
    await server.pause();
    await until(() => near.size === 0, 'the near cache is empty', 15_000);
    await until(() => events.length === 2, 'the reset', 15_000);
    expect(events[1]).toEqual({ type: 'reset', cause: 'DISCONNECTED' });
    await server.resume();
    await until(() => types() === 'ready reset ready', 'ready again');
    await until(() => kept(cache, 'k'), 'the value is kept again');
    // One reset is enough.
    expect(types()).toBe('ready reset ready');
  }, 40_000);

  test('of a server that is gone is a reset', async () => {
    const { server, client, cache, types } = await silenced();
    const near = cache.scope.near!;
    await server.stop();
    await until(() => types() === 'ready reset', 'the reset', 15_000);
    expect(near.size).toBe(0);
    // Nothing is tried any more after close.
    await client.close();
    expect(types()).toBe('ready reset');
  }, 40_000);

  test('a clock that is set does not end the feed for good', async () => {
    const { cache } = await silenced();
    const real = Date.now;
    onTestFinished(() => { Date.now = real; });
    Date.now = () => real() + 86_400_000;
    expect(await kept(cache, 'k')).toBe(false);
    await until(() => kept(cache, 'k'), 'the feed is made anew', 15_000);
  }, 40_000);
});

test.each([
  ['*', 'any/thing', true],
  ['a*c', 'abbc', true],
  ['a*c', 'abbcd', false],
  ['a?c', 'a☃c', true],
  ['a?c', 'ac', false],
  ['[a-c]x', 'bx', true],
  ['[^a-c]x', 'bx', false],
  ['[!a-c]x', 'dx', true],
  ['a\\*', 'a*', true],
  ['a\\*', 'ab', false],
  ['a.b', 'axb', false],
  ['(a|b)', 'a', false],
  ['[]x]', ']', true],
  ['[a\\]]', ']', true],
  ['[a-]', '-', true],
  ['?', '\u{1f600}', true],
  ['*a*b*', 'xxaxxbxx', true],
  ['*a*b', 'xxaxxbxx', false],
])('glob %s and %s', (glob, key, matches) => expect(globMatcher(glob)(key)).toBe(matches));

test.each(['', '[b-a]', 'a[', 'a\\', '[]', 'x'.repeat(1025), '?a'.repeat(33)])(
  'glob %j is refused', (glob) => expect(() => globMatcher(glob)).toThrow('glob '),
);

test('a pattern with many wildcards takes no long time', () => {
  const matches = globMatcher('*a'.repeat(31) + '*b');
  const started = performance.now();
  for (let round = 0; round < 20; round += 1) expect(matches('a'.repeat(1000))).toBe(false);
  expect(performance.now() - started).toBeLessThan(2000);
});

test('a connection of feeds that is silent is replaced', { timeout: 40_000 }, async () => {
  const [host, port] = used.server.target.split(':');
  const sockets = new Set<Socket>();
  let connections = 0;
  // The second connection, which is that of the feed, is accepted and has no answers.
  const proxy = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    connections += 1;
    if (connections === 2) return;
    const upstream = connect(Number(port), host!);
    sockets.add(upstream.on('error', () => {}));
    socket.pipe(upstream).pipe(socket);
  });
  await new Promise<void>((resolve) => { proxy.listen(0, '127.0.0.1', resolve); });
  const target = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const client = new Client({ target, preset: 'local', logger: null });
  onTestFinished(async () => {
    await client.close();
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  await client.connect();
  const cache = client.namespace(fresh('near'), { nearCache: true });
  await cache.set('k', 1);
  await until(() => kept(cache, 'k'), 'the value is kept', 15_000);
  expect(connections).toBe(3);
});
