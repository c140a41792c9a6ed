import { describe, expect, test } from 'vitest';
import { EncodeError, FailedPrecondition, FOREVER, InvalidArgument, ResourceExhausted }
  from '../src/index.js';
import { BACKENDS, fresh, useBackend } from './support.js';

describe.each(BACKENDS)('on the %s', (kind) => {
  const used = useBackend(kind);
  const space = () => used.client.namespace(fresh());

  describe('values', () => {
    test.each([
      ['text', 'snow ☃'],
      ['empty text', ''],
      ['null', null],
      ['zero', 0],
      ['false', false],
      ['an object', { a: [1, { b: null }], '': 'x' }],
      ['an empty array', []],
      ['a fraction', -1.5e-7],
    ])('%s comes back as it was', async (_, value) => {
      const cache = space();
      expect(await cache.set('k', value)).toMatchObject({ stored: true });
      const read = await cache.get('k');
      expect(read).toMatchObject({ outcome: 'HIT', found: true, tier: 'store', degraded: false });
      expect(read.value).toStrictEqual(value);
    });

    test('bytes come back as a Buffer', async () => {
      const cache = space();
      await cache.set('k', new Uint8Array([0, 255, 1]));
      const { value } = await cache.get('k');
      expect(Buffer.isBuffer(value)).toBe(true);
      expect([...value]).toEqual([0, 255, 1]);
      await cache.set('e', new Uint8Array());
      expect((await cache.get('e')).value).toHaveLength(0);
    });

    test('what JSON would change is refused with its place', async () => {
      const cache = space();
      const refused = (value: unknown) => cache.set('k', value).catch((error: unknown) => error);
      for (const [value, path] of [
        [{ a: [1, Number.NaN] }, 'value.a[1]'],
        [{ b: { c: new Uint8Array(1) } }, 'value.b.c'],
        [{ m: new Map() }, 'value.m'],
        [[undefined], 'value[0]'],
        [10n, 'value'],
        ['\ud800', 'value'],
      ] as const) {
        const error = await refused(value);
        expect(error).toBeInstanceOf(EncodeError);
        expect(error).toMatchObject({ path });
      }
      const cycle: Record<string, unknown> = {};
      cycle.self = cycle;
      expect(await refused(cycle)).toBeInstanceOf(EncodeError);
      expect((await cache.get('k')).outcome).toBe('MISS');
    });

    test('a value over the limit is a mistake', async () => {
      const error = await space().set('k', 'x'.repeat(1024 * 1024 + 1)).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(ResourceExhausted);
      expect(error).toMatchObject({ code: 'RESOURCE_EXHAUSTED', reason: 'VALUE_TOO_LARGE' });
    });
  });

  describe('entries', () => {
    test('a read has the facts of the entry', async () => {
      const cache = used.client.namespace(fresh(), { ttl: '5m', tags: ['all'] });
      const stored = await cache.set('k', 1, { tags: ['b', 'a'] });
      if (!stored.stored) throw new Error(stored.reason);
      expect(stored.ttl).toBe(300_000);
      const read = await cache.get('k');
      expect(read.version).toBe(stored.version);
      expect(read.tags).toEqual(['a', 'all', 'b']);
      expect(read.age).toBeGreaterThanOrEqual(0);
      expect(read.ttlRemaining).toBeGreaterThan(290_000);
      expect(await cache.has('k')).toBe(true);
      expect(await cache.has('other')).toBe(false);
    });

    test('params are part of the entry, in any order', async () => {
      const cache = space();
      await cache.set('k', 1, { params: { a: '1', b: '2' } });
      const params = new Map([['b', '2'], ['a', '1']]);
      expect((await cache.get('k', { params })).value).toBe(1);
      expect((await cache.get({ key: 'k', params })).value).toBe(1);
      expect((await cache.get('k')).outcome).toBe('MISS');
      const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`p${i}`, 'v']));
      await cache.set('k', 2, { params: many });
      expect((await cache.get('k', { params: many })).value).toBe(2);
    });

    test('TTLs: forever, none, and less than a millisecond', async () => {
      const cache = space();
      const forever = await cache.set('f', 1, { ttl: FOREVER });
      expect(forever.stored && forever.ttl).toBe(7 * 86_400_000);
      await cache.set('k', 1);
      const ended = await cache.set('k', 2, { ttl: 0 });
      expect(ended).toMatchObject({ stored: false, reason: 'EXPIRED' });
      expect((await cache.get('k')).outcome).toBe('MISS');
      expect(await cache.set('k', 2, { ttl: -5 })).toMatchObject({ reason: 'EXPIRED' });
      const short = await cache.set('s', 1, { ttl: 0.2 });
      expect(short.stored && short.ttl).toBe(1);
      await expect(cache.set('k', 1, { ttl: '5 parsecs' })).rejects.toThrow('ttl: expected');
    });

    test('conditions are results', async () => {
      const cache = space();
      expect(await cache.set('k', 1, { ifPresent: true })).toMatchObject({
        reason: 'CONDITION_NOT_MET',
      });
      const first = await cache.set('k', 1, { ifAbsent: true });
      expect(await cache.set('k', 2, { ifAbsent: true })).toMatchObject({ stored: false });
      const ifVersion = first.stored ? first.version : '';
      expect(await cache.set('k', 3, { ifVersion })).toMatchObject({ stored: true });
      expect(await cache.set('k', 4, { ifVersion })).toMatchObject({ stored: false });
      expect((await cache.get('k')).value).toBe(3);
      await expect(cache.set('k', 1, { ifAbsent: true, ifPresent: true })).rejects.toThrow(
        'at most one',
      );
    });

    test('delete tells what there was', async () => {
      const cache = space();
      const stored = await cache.set('k', { a: 1 });
      expect(await cache.delete('k', { ifVersion: 'other' })).toMatchObject({
        existed: true, deleted: false,
      });
      const ifVersion = stored.stored ? stored.version : '';
      const deleted = await cache.delete('k', { ifVersion, returnValue: true });
      expect(deleted).toMatchObject({
        deleted: true, removed: { outcome: 'HIT', value: { a: 1 } },
      });
      expect(await cache.delete('k')).toMatchObject({ existed: false, removed: undefined });
    });

    test('batches keep the keys of the caller', async () => {
      const cache = space();
      const keys = Array.from({ length: 1100 }, (_, index) => `k${index}`);
      const written = await cache.setMany(keys.map((key, index) => [key, index] as const));
      expect([...written.values()].every(({ stored }) => stored)).toBe(true);
      const object = { key: 'k5' };
      const read = await cache.getMany<number>([...keys, object, 'missing']);
      expect(read.size).toBe(1102);
      expect(read.get('k1099')?.value).toBe(1099);
      expect(read.get(object)?.value).toBe(5);
      expect(read.get('missing')?.outcome).toBe('MISS');
      expect((await cache.deleteMany(keys.slice(1))).get('k1099')?.existed).toBe(true);
      expect(await cache.countKeys()).toBe(1);
      expect(await cache.getMany([])).toEqual(new Map());
      await cache.setMany({ a: 'x'.repeat(900_000), b: 'y'.repeat(900_000), c: 'z'.repeat(900_000),
        d: 'x'.repeat(900_000), e: 'y'.repeat(900_000) });
      expect((await cache.get('e')).found).toBe(true);
    });

    test('touch, increment and patch', async () => {
      const cache = space();
      expect(await cache.touch('k', '1m')).toMatchObject({ found: false });
      await cache.set('k', { a: 1, b: 2 });
      expect(await cache.touch('k', '1m')).toMatchObject({ found: true, ttl: 60_000 });
      const patched = await cache.patch('k', { merge: { b: null, c: [3] } }, { keepTtl: true });
      expect(patched).toMatchObject({ applied: true });
      expect((await cache.get('k')).value).toEqual({ a: 1, c: [3] });
      await cache.patch('k', { jsonPatch: [{ op: 'replace', path: '/a', value: 'x' }] });
      expect((await cache.get('k')).value).toEqual({ a: 'x', c: [3] });
      const none = await cache.patch('none', { merge: {} });
      expect(none).toEqual({ applied: false, reason: 'MISSING' });
      const lost = await cache.patch('k', { merge: 1 }, { ifVersion: 'v' });
      expect(lost).toEqual({ applied: false, reason: 'CONDITION_NOT_MET' });

      expect(await cache.increment('n', 1, { ifPresent: true })).toMatchObject({ value: null });
      expect(await cache.increment('n', 5, { initial: 10 })).toMatchObject({ value: 15 });
      expect(await cache.increment('n', -20n)).toMatchObject({ value: -5 });
      expect((await cache.increment('n', 2n ** 62n)).value).toBe(2n ** 62n - 5n);
      const over = cache.increment('n', 2n ** 62n + 5n);
      await expect(over).rejects.toMatchObject({ reason: 'OVERFLOW' });
      await expect(cache.increment('k')).rejects.toMatchObject({ reason: 'NOT_AN_INTEGER' });
      await expect(cache.increment('k')).rejects.toBeInstanceOf(FailedPrecondition);
      await expect(cache.increment('n', 0.5)).rejects.toThrow('delta: expected a whole number');
      await expect(cache.increment('n', 2n ** 64n)).rejects.toThrow('64 bits');
    });
  });

  describe('many entries', () => {
    test('invalidate by tag, pattern, key and namespace', async () => {
      const cache = space();
      await cache.set('user:1', 1, { tags: ['a'] });
      await cache.set('user:2', 2, { tags: ['b'] });
      await cache.set('post:1', 3);
      await cache.set('post:2', 4);
      const done = await cache.invalidate({
        tags: ['a'], globs: ['user:*'], keys: ['post:1', 'no'],
      });
      expect(done).toEqual({ queued: false, namespaceInvalidated: false, existed: [true, false] });
      const left = await cache.getMany(['user:1', 'user:2', 'post:1', 'post:2']);
      expect([...left].filter(([, { found }]) => found).map(([key]) => key)).toEqual(['post:2']);
      await cache.invalidateNamespace();
      expect(await cache.has('post:2')).toBe(false);
      expect(await cache.invalidate({})).toMatchObject({ queued: false });
      await expect(cache.invalidate({ globs: ['[z-'] })).rejects.toBeInstanceOf(InvalidArgument);
      const text = cache.invalidate({ tags: 'a' as never });
      await expect(text).rejects.toThrow('tags: expected a list');
    });

    test('keys are listed and counted, statistics are plain', async () => {
      const cache = space();
      await cache.setMany(Array.from({ length: 250 }, (_, i) => [`k${i}`, i] as const));
      await cache.set('k1', 1, { params: { p: 'v' } });
      const keys: string[] = [];
      for await (const { key } of cache.listKeys({ pageSize: 40 })) keys.push(key);
      expect(new Set(keys).size).toBe(250);
      expect(await cache.countKeys({ glob: 'k24?' })).toBe(10);
      await cache.get('k1');
      const stats = await cache.stats();
      expect(stats?.counted?.total?.hits).toBe(1);
      const all = await used.client.stats();
      expect(all.collectedAt).toBeInstanceOf(Date);
      if (kind === 'server') expect(typeof all.store?.uptime).toBe('number');
      expect(all.store?.kind).toBe('memory');
      expect(await used.client.publishEvent('nothing', { id: '1' })).toMatchObject({ targets: 0 });
    });

    test('counters count', async () => {
      const cache = space();
      await cache.get('k');
      await cache.set('k', 1);
      await cache.get('k');
      await cache.get('k', { codec: { encode: () => ({ kind: 'text', value: '' }), decode() {
        throw new Error('unreadable');
      } } }).then((read) => {
        expect(read).toMatchObject({ outcome: 'MISS', error: new Error('unreadable') });
      });
      expect(used.client.counters()[cache.wireName]).toMatchObject({
        hits: 1, misses: 2, undecodable: 1,
      });
    });
  });
});
