import { expect, onTestFinished, test } from 'vitest';
import { Client, type ClientOptions, FailedPrecondition } from '../src/index.js';
import { FakeLarder, type FakeLarderOptions } from '../src/testing.js';
import { until } from './support.js';

function fakeOf(options: FakeLarderOptions = {}, clientOptions: ClientOptions = {}) {
  const fake = new FakeLarder(options);
  const client = new Client({ transport: fake.transport, logger: null, ...clientOptions });
  onTestFinished(() => client.close());
  return { fake, client, cache: client.namespace('n') };
}

test('time passes when it is told to', async () => {
  const { fake, cache } = fakeOf({ namespaces: { n: { staleWhileRevalidate: 60_000 } } });
  await cache.set('k', 1, { ttl: '5m' });
  fake.advance('4m');
  expect(await cache.get('k')).toMatchObject({ outcome: 'HIT' });
  expect((await cache.get('k')).ttlRemaining).toBeLessThanOrEqual(60_000);
  expect((await cache.get('k')).age).toBeGreaterThanOrEqual(240_000);
  fake.advance('90s');
  expect(await cache.get('k')).toMatchObject({ outcome: 'STALE', value: 1 });
  expect(await cache.get('k', { maxStale: 0 })).toMatchObject({ outcome: 'MISS' });
  fake.advance('1m');
  expect(await cache.get('k')).toMatchObject({ outcome: 'MISS' });
});

test('sliding expiration ends with the longest TTL', async () => {
  const { fake, cache } = fakeOf({ namespaces: { n: { maxTtl: 100_000 } } });
  await cache.set('k', 1, { ttl: '1m' });
  fake.advance('50s');
  expect((await cache.get('k', { touch: '1m' })).ttlRemaining).toBeGreaterThan(45_000);
  fake.advance('60s');
  expect((await cache.get('k')).outcome).toBe('MISS');
});

test('a lease expires, and the next caller computes', async () => {
  const { fake, cache, client } = fakeOf();
  const other = new Client({ transport: fake.transport });
  onTestFinished(() => other.close());
  let release = (_: number) => {};
  let calls = 0;
  const first = cache.getOrFetch('k', () => {
    calls += 1;
    return new Promise<number>((resolve) => { release = resolve; });
  });
  await until(() => calls, 'the loader runs');
  const second = other.namespace('n').getOrFetch('k', () => 2);
  await until(async () => (await client.stats(['n'])).namespaces[0]!.counted!.total!.leasesRefused,
    'the other client waits');
  fake.advance('11s');
  expect(await second).toMatchObject({ value: 2, stored: { stored: true } });
  release(1);
  expect(await first).toMatchObject({ value: 1, stored: { stored: false } });
  expect((await cache.get('k')).value).toBe(2);
});

test('failures are switched on and off', async () => {
  const { fake, cache } = fakeOf();
  await cache.set('k', 1);
  fake.fail({ methods: ['Get'], times: 3 });
  expect(await cache.get('k')).toMatchObject({ outcome: 'MISS', degraded: true });
  expect(fake.calls.filter(({ method }) => method === 'Get')).toHaveLength(3);
  expect(await cache.get('k')).toMatchObject({ outcome: 'HIT' });
  fake.fail({ code: 'FAILED_PRECONDITION', reason: 'TOLD' });
  await expect(cache.get('k')).rejects.toBeInstanceOf(FailedPrecondition);
  await expect(cache.get('k')).rejects.toMatchObject({ reason: 'TOLD' });
  fake.recover();
  fake.degraded = true;
  expect(await cache.get('k')).toMatchObject({ outcome: 'MISS', degraded: true, error: undefined });
  expect(await cache.set('k', 2)).toMatchObject({ reason: 'DEGRADED' });
  expect(await cache.getOrFetch('k', () => 3)).toMatchObject({
    value: 3, degraded: true, stored: { reason: 'DEGRADED' },
  });
  await expect(cache.delete('k')).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
  fake.recover();
  fake.delay = 1000;
  const slow = await cache.get('k', { timeout: 50 });
  expect(slow).toMatchObject({ error: { code: 'DEADLINE_EXCEEDED' } });
  fake.recover();
  expect(await cache.get('k')).toMatchObject({ value: 1 });
});

test('origins, events and hold-off', async () => {
  const { fake, client, cache } = fakeOf({
    namespaces: { users: { origin: (key) => (key === 'none' ? null : { id: key }) } },
    events: {
      'user-changed': ({ id }) => [
        { target: { $case: 'tags', value: { namespace: 'n', tags: [`u${id}`] } } },
      ],
    },
  });
  const users = client.namespace('users');
  expect(await users.getOrFetch('7')).toMatchObject({ value: { id: '7' }, tier: 'origin' });
  expect(await users.get('7')).toMatchObject({ tier: 'store' });
  expect(await users.getOrFetch('none')).toMatchObject({ outcome: 'NEGATIVE', value: null });
  await cache.set('a', 1, { tags: ['u1'] });
  expect(await client.publishEvent('user-changed', { id: '1' })).toMatchObject({ targets: 1 });
  expect((await cache.get('a')).outcome).toBe('MISS');
  await cache.delete('h', { holdOff: '1m' });
  const held = await cache.getOrFetch('h', () => 1);
  expect(held.stored).toMatchObject({ reason: 'INVALIDATED' });
  fake.advance('2m');
  expect((await cache.getOrFetch('h', () => 1)).stored).toMatchObject({ stored: true });
});

test('rules of events are data', async () => {
  const { client, cache } = fakeOf({
    events: {
      changed: [
        { namespace: 'n', tags: ['t-{id}'] },
        { namespace: 'n', pattern: '{id}:*', when: { kind: 'all' } },
      ],
      moved: [{ namespace: 'n', key: 'k-{after.id|before.id}-{{x}}' }],
      emptied: [{ namespace: 'n' }],
    },
  });
  const present = async (...keys: string[]) =>
    [...(await cache.getMany(keys)).values()].map(({ found }) => found);
  await cache.set('a', 1, { tags: ['t-7'] });
  await cache.set('*:1', 1);
  await cache.set('b:1', 1);
  expect(await client.publishEvent('changed', { id: '7' })).toMatchObject({ targets: 1 });
  expect(await present('a', '*:1', 'b:1')).toEqual([false, true, true]);
  // An attribute does not widen a pattern.
  expect(await client.publishEvent('changed', { id: '*', kind: 'all' })).toMatchObject({
    targets: 2,
  });
  expect(await present('*:1', 'b:1')).toEqual([false, true]);
  await cache.set('k-9-{x}', 1, { params: { lang: 'de' } });
  await client.publishEvent('moved', { 'after.id': '', 'before.id': '9' });
  expect((await cache.get('k-9-{x}', { params: { lang: 'de' } })).found).toBe(false);
  // A missing attribute fails the event before anything is invalidated.
  for (const attributes of [{}, { id: '' }] as Record<string, string>[]) {
    await expect(client.publishEvent('changed', attributes)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT', metadata: { field: 'attributes.id' },
    });
  }
  expect(await client.publishEvent('toString', {})).toMatchObject({ targets: 0 });
  expect(await present('b:1')).toEqual([true]);
  await client.publishEvent('emptied');
  expect(await present('b:1')).toEqual([false]);
});

test('the windows of stale values follow one another', async () => {
  const { fake, cache } = fakeOf({
    namespaces: { n: { staleWhileRevalidate: 1000, staleIfError: 2000 } },
  });
  await cache.set('k', 'old', { ttl: 1000 });
  fake.advance(1500);
  expect((await cache.get('k')).outcome).toBe('STALE');
  fake.advance(1000);
  expect((await cache.get('k')).outcome).toBe('MISS');
  expect((await cache.getMany(['k'])).get('k')!.outcome).toBe('MISS');
  const failing = () => Promise.reject(new Error('down'));
  expect(await cache.getOrFetch('k', failing)).toMatchObject({ outcome: 'STALE', value: 'old' });
  fake.advance(2000);
  await expect(cache.getOrFetch('k', failing, { timeout: 0 })).rejects.toThrow('down');
});

test('schema versions have entries of their own, namespaces are invalidated for all', async () => {
  const fake = new FakeLarder();
  const versions = [undefined, 'v1', 'v2'].map((schemaVersion) => {
    const options = schemaVersion === undefined ? {} : { schemaVersion };
    const client = new Client({ transport: fake.transport, ...options });
    onTestFinished(() => client.close());
    return client.namespace('n');
  });
  for (const [index, cache] of versions.entries()) {
    expect((await cache.get('k')).outcome).toBe('MISS');
    await cache.setMany({ k: index });
    await cache.getOrFetch('f', () => index);
    await cache.getOrFetchMany(['m'], () => ({ m: index }));
  }
  for (const [index, cache] of versions.entries()) {
    const read = await cache.getMany(['k', 'f', 'm']);
    expect([...read.values()].map(({ value }) => value)).toEqual([index, index, index]);
  }
  await versions[1]!.delete('k');
  await versions[2]!.invalidate({ keys: ['f'] });
  expect(await Promise.all(versions.map((cache) => cache.has('k')))).toEqual([true, false, true]);
  expect(await Promise.all(versions.map((cache) => cache.has('f')))).toEqual([true, true, false]);
  await versions[0]!.invalidateNamespace();
  expect(await Promise.all(versions.map((cache) => cache.has('m')))).toEqual([false, false, false]);
  expect(() => new Client({ transport: fake.transport, schemaVersion: 'a b' })).toThrow(TypeError);
});

test('near caches follow it', async () => {
  const { fake, client } = fakeOf();
  const other = new Client({ transport: fake.transport });
  onTestFinished(() => other.close());
  const near = client.namespace('near', { nearCache: true });
  const kept = async (key: string) => (await near.get(key)).tier === 'client';
  await near.set('k', 1);
  await until(() => kept('k'), 'the value is kept');
  await other.namespace('near').set('k', 2);
  await until(async () => (await near.get('k')).value === 2, 'the write arrives');
  await until(() => kept('k'), 'the value is kept');
  fake.disturbWatches('reset');
  await until(async () => !(await kept('k')), 'all is dropped');
  await until(() => kept('k'), 'the value is kept');
  fake.disturbWatches('break');
  await until(async () => !(await kept('k')), 'it is not used');
  await until(() => kept('k'), 'the feed is back');
});

test('a JSON patch applies as a whole', async () => {
  const { cache } = fakeOf();
  await cache.set('k', { a: [1, 2], b: { 'x/y': 1 } });
  await cache.patch('k', { jsonPatch: [
    { op: 'add', path: '/a/1', value: 9 },
    { op: 'add', path: '/a/-', value: 3 },
    { op: 'remove', path: '/a/0' },
    { op: 'move', from: '/b/x~1y', path: '/c' },
    { op: 'copy', from: '/a', path: '/d' },
    { op: 'test', path: '/d/0', value: 9 },
  ] });
  const changed = { a: [9, 2, 3], b: {}, c: 1, d: [9, 2, 3] };
  expect((await cache.get('k')).value).toEqual(changed);
  const wrong = cache.patch('k', { jsonPatch: [
    { op: 'remove', path: '/a' }, { op: 'test', path: '/c', value: 2 },
  ] });
  await expect(wrong).rejects.toMatchObject({ reason: 'PATCH_NOT_APPLICABLE' });
  expect((await cache.get('k')).value).toEqual(changed);
});

test('a call that waits for a lease and is cancelled rejects', async () => {
  const { fake } = fakeOf();
  const place = { namespace: 'n', key: 'k', params: {} };
  fake.leases.grant(place);
  const leaving = new AbortController();
  const wait = fake.leases.wait(place, 10_000, leaving.signal);
  leaving.abort(new Error('gone'));
  await expect(wait).rejects.toThrow('gone');
  await expect(fake.leases.wait(place, 10_000, leaving.signal)).rejects.toThrow('gone');
});
