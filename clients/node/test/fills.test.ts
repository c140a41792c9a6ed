// A fill that fails, or is refused, does not change the value that was computed.
import { describe, expect, onTestFinished, test } from 'vitest';
import { Client, type Code, loaded } from '../src/index.js';
import { FakeLarder } from '../src/testing.js';

function start(onError: 'open' | 'raise') {
  const fake = new FakeLarder();
  const warnings: string[] = [];
  const logger = { warn: (line: string) => warnings.push(line), info() {} };
  const client = new Client({ transport: fake.transport, preset: 'local', logger, onError });
  onTestFinished(() => client.close());
  return { fake, client, cache: client.namespace('n', { tags: ['all'] }), warnings };
}

const FILLS = { methods: ['Set', 'BatchSet'] };

describe.each(['open', 'raise'] as const)('onError: %s', (onError) => {
  test.each(['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'INTERNAL'] as Code[])(
    'an outage at the fill: %s',
    async (code) => {
      const { fake, client, cache } = start(onError);
      fake.fail({ ...FILLS, code });
      const stored = { stored: false, reason: 'UNAVAILABLE', degraded: true, error: { code } };
      expect(await cache.getOrFetch('k', () => 1)).toMatchObject({
        outcome: 'HIT', value: 1, tier: 'loader', stored,
      });
      const many = await cache.getOrFetchMany(['a', 'b'], () => ({ a: 2, b: 3 }));
      expect(many.get('a')).toMatchObject({ outcome: 'HIT', value: 2, stored });
      expect(many.get('b')).toMatchObject({ outcome: 'HIT', value: 3, stored });
      // An outage is not tried again for each key.
      expect(fake.calls.filter(({ method }) => method === 'BatchSet')).toHaveLength(1);
      expect(client.counters().n).toMatchObject({ fills_refused: 3, loads: 2 });
      fake.recover();
      expect(await cache.getOrFetch('k', () => 4)).toMatchObject({ stored: { stored: true } });
    },
  );

  test('a fill that the server calls a mistake is not stored, and is logged', async () => {
    const { fake, cache, warnings } = start(onError);
    fake.fail({ ...FILLS, code: 'PERMISSION_DENIED' });
    const stored = { stored: false, reason: 'NOT_STORED', error: { code: 'PERMISSION_DENIED' } };
    expect(await cache.getOrFetch('k', () => 1)).toMatchObject({ value: 1, stored });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('is not stored');
    const many = await cache.getOrFetchMany(['a', 'b'], () => ({ a: 2, b: 3 }));
    expect(many.get('b')).toMatchObject({ value: 3, stored });
  });

  test('an outage at the deletion of a value without a lifetime', async () => {
    const { fake, cache } = start(onError);
    fake.fail({ methods: ['Delete', 'Abandon'] });
    const ended = await cache.getOrFetch('k', () => loaded(1, { ttl: 0 }));
    expect(ended).toMatchObject({ value: 1, stored: { reason: 'EXPIRED' } });
  });
});

test('a codec that throws leaves the value', async () => {
  const { cache } = start('open');
  const codec = {
    encode: () => { throw new RangeError('of the codec'); },
    decode: () => 0,
  };
  const stored = { stored: false, reason: 'NOT_ENCODABLE', error: new RangeError('of the codec') };
  expect(await cache.getOrFetch('k', () => 1, { codec })).toMatchObject({ value: 1, stored });
  const many = await cache.getOrFetchMany(['a', 'b'], () => ({ a: 1, b: 2 }), { codec });
  expect(many.get('b')).toMatchObject({ value: 2, stored });
  // The leases are given up, so that the next call computes at once.
  expect(await cache.getOrFetch('k', () => 3, { timeout: 0 })).toMatchObject({
    stored: { stored: true },
  });
  await expect(cache.set('k', 1, { codec })).rejects.toThrow('of the codec');
});

test('a computed value has all its tags', async () => {
  const { cache } = start('open');
  const load = () => loaded(1, { tags: ['z', 'b'] });
  const computed = await cache.getOrFetch('k', load, { tags: ['y'] });
  expect(computed.tags).toEqual(['all', 'b', 'y', 'z']);
  expect((await cache.get('k')).tags).toEqual(computed.tags);
  const many = await cache.getOrFetchMany(['m'], () => ({ m: loaded(1, { tags: ['b'] }) }));
  expect(many.get('m')!.tags).toEqual(['all', 'b']);
});

test('many values without a lifetime are deleted together', async () => {
  const { fake, client, cache } = start('open');
  await cache.setMany({ a: 1, b: 2, c: 3 });
  for (const ttl of [0, -5, '-1s']) {
    const before = fake.calls.length;
    const results = await cache.setMany({ a: 4, b: 5 }, { ttl });
    expect([...results.values()]).toEqual([
      expect.objectContaining({ stored: false, reason: 'EXPIRED', degraded: false }),
      expect.objectContaining({ stored: false, reason: 'EXPIRED', degraded: false }),
    ]);
    expect(fake.calls.slice(before).map(({ method }) => method)).toEqual(['BatchDelete']);
  }
  const left = await cache.getMany(['a', 'b', 'c']);
  expect([...left.values()].map(({ found }) => found)).toEqual([false, false, true]);
  const pairs = Array.from({ length: 2500 }, (_, index) => [`k${index}`, index] as const);
  const before = fake.calls.length;
  expect((await cache.setMany(pairs, { ttl: 0 })).size).toBe(2500);
  expect(fake.calls.slice(before)).toHaveLength(3);
  fake.fail({ methods: ['BatchDelete'] });
  expect((await cache.setMany({ c: 1 }, { ttl: 0 })).get('c')).toMatchObject({
    stored: false, reason: 'UNAVAILABLE', degraded: true,
  });
  const raising = client.namespace('n', { onError: 'raise' });
  await expect(raising.setMany({ c: 1 }, { ttl: 0 })).rejects.toMatchObject({
    code: 'UNAVAILABLE',
  });
});
