import { describe, expect, test } from 'vitest';
import { cached, cachedMany, canonical } from '../src/index.js';
import { CallKeys } from '../src/core/call-keys.js';
import { fresh, useServer } from './support.js';

describe('canonical forms', () => {
  test.each([
    ['a', '"a"'],
    [1, '1'],
    [1.5, '1.5'],
    [1.0, '1'],
    [-0, '0'],
    [1e21, '1e+21'],
    [10n, '10'],
    [true, 'true'],
    [null, 'null'],
    [new Uint8Array([1, 2]), '{"$bytes":"AQI="}'],
    [new Date('2026-11-29T10:00:00Z'), '{"$datetime":"2026-11-29T10:00:00+00:00"}'],
    [new Date('2026-11-29T10:00:00.120Z'), '{"$datetime":"2026-11-29T10:00:00.120000+00:00"}'],
    [[1, 2], '[1,2]'],
    [new Set([2, 1]), '{"$set":[1,2]}'],
    [new Map([['a', 1]]), '{"a":1}'],
    [{ '\u{1f600}': 1, '\uffff': 2, a: undefined }, '{"\uffff":2,"\u{1f600}":1}'],
    [{ toLarderKey: () => 7 }, '7'],
  ])('form %#', (value, form) => expect(canonical(value, 'a')).toBe(form));

  test('what has none is refused with its place', () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    for (const [value, path] of [
      [() => 1, 'a'], [Number.NaN, 'a'], [{ b: [new URL('http://x')] }, 'a.b[0]'],
      [{ $date: 'x' }, 'a'], [[undefined], 'a[0]'], [new Map([[1, 2]]), 'a'], ['\ud800', 'a'],
      [Symbol('s'), 'a'], [cycle, `a${'[0]'.repeat(65)}`], [new Date(Number.NaN), 'a'],
    ] as const) {
      expect(() => canonical(value, 'a')).toThrowError(expect.objectContaining({ path }));
    }
  });
});

describe('keys of calls', () => {
  test('all spellings of a call are one key', () => {
    const keys = new CallKeys<any[]>('f', { args: ['a', 'b'], defaults: { b: 2 } });
    const key = { key: 'f', params: { a: '1', b: '2' } };
    for (const args of [[1], [1, 2], [1, undefined], [1.0, 2], [1, 2, undefined]]) {
      expect(keys.key(args)).toEqual(key);
    }
    expect(keys.key(['1'])).toEqual({ key: 'f', params: { a: '"1"', b: '2' } });
    expect(new CallKeys<any[]>('f', {}).key([1, 'x'])).toEqual({
      key: 'f', params: { 0: '1', 1: '"x"' },
    });
  });

  test('an argument that a template names is no param', () => {
    const keys = new CallKeys<any[]>('f', { key: 'user:{id}', args: ['id', 'lang'] });
    expect(keys.key([7, 'en'])).toEqual({ key: 'user:7', params: { lang: '"en"' } });
    expect(keys.key(['null', 'en']).params).toEqual({ id: '"null"', lang: '"en"' });
    const nested = new CallKeys<any[]>('f', { key: '{{{c.id}:{0[s]}', args: ['c', '0'] });
    expect(nested.key([{ id: 'x' }, { s: 1 }])).toEqual({ key: '{x:1', params: {} });
    const pair = new CallKeys<any[]>('f', { key: '{0}:{1}' });
    expect(pair.key(['a:b', 'c']).params).toEqual({ 0: '"a:b"' });
    expect(pair.key(['a', 'b:c']).params).toEqual({ 1: '"b:c"' });
  });

  test.each(['{0}:{1}', '{0}{1}', '{0}::{1}', 'x{0}:y{1}:', '{1}:{0}', '{0}:{1}{{:}}'])(
    'calls with other arguments never share an entry of %s',
    (key) => {
      const keys = new CallKeys<any[]>('f', { key });
      const texts = ['a', 'b', ':', '::', 'a:', ':b', 'a:b', 'b:c', 'a:b:c', '', 'y', 'x', ':y'];
      const others = [null, 'null', true, 'true', 1.5, '1.5', ['a'], '["a"]', { a: 1 }, '{"a":1}'];
      const values = [...texts, ...others];
      const seen = new Map<string, unknown[]>();
      for (const first of values) {
        for (const second of values) {
          const entry = keys.key([first, second]);
          const id = JSON.stringify([entry.key, Object.entries(entry.params).sort()]);
          expect(seen.get(id), `${id} of ${JSON.stringify([first, second])}`).toBeUndefined();
          seen.set(id, [first, second]);
        }
      }
    },
  );

  test('mistakes name the argument', () => {
    class Db {}
    const of = (options: object, ...args: any[]) => () =>
      new CallKeys<any[]>('f', options).key(args);
    expect(of({ args: ['a', 'db'] }, 1, new Db())).toThrow(
      'the argument db of f: a Db cannot be part of a key',
    );
    expect(of({ args: ['a', 'db'], ignore: ['db'] }, 1, new Db())()).toEqual({
      key: 'f', params: { a: '1' },
    });
    expect(of({ key: 'u:{b}', args: ['a'] })).toThrow('{b}, which is not an argument');
    expect(of({ key: 'u:{a' })).toThrow('a brace without its other');
    expect(of({ key: 'u:{a}', args: ['a'] })).toThrow('the argument a of f: the template needs it');
    expect(of({ ignore: ['x'], args: ['a'] })).toThrow('x is not an argument');
    expect(of({ args: ['a'] }, 1, 2)).toThrow('argument 1 has no name');
    expect(() => new CallKeys('', {})).toThrow('has no name');
  });
});

describe('cached', () => {
  const used = useServer();

  test('calls are computed once, and their entries can be handled', async () => {
    let calls = 0;
    async function user(id: number, lang = 'en') {
      calls += 1;
      return { id, lang, calls };
    }
    const namespace = used.client.namespace(fresh());
    const get = cached(user, {
      namespace, key: 'user:{id}', args: ['id', 'lang'], defaults: { lang: 'en' },
      ttl: (value) => value.id * 60_000, tags: (_, id) => [`u${id}`],
    });
    expect(await get(1)).toEqual({ id: 1, lang: 'en', calls: 1 });
    expect(await get(1, 'en')).toEqual({ id: 1, lang: 'en', calls: 1 });
    expect(await get(1, 'de')).toMatchObject({ lang: 'de', calls: 2 });
    expect(get.key(1)).toEqual({ key: 'user:1', params: { lang: '"en"' } });
    expect(await get.get(1)).toMatchObject({ outcome: 'HIT', tags: ['u1'] });
    expect((await get.get(2)).outcome).toBe('MISS');
    await get.set({ id: 1, lang: 'xx', calls: 0 }, 1);
    expect(await get(1)).toMatchObject({ lang: 'xx' });
    expect(await get.refresh(1)).toMatchObject({ lang: 'en', calls: 3 });
    expect(await get(1)).toMatchObject({ calls: 3 });
    expect(await get.bypass(1)).toMatchObject({ calls: 4 });
    expect(await get.invalidate(1)).toMatchObject({ existed: true });
    expect(await get(1)).toMatchObject({ calls: 5 });
    await namespace.invalidate({ tags: ['u1'] });
    expect(await get(1)).toMatchObject({ calls: 6 });
    expect(get.original).toBe(user);
  });

  test('conditions, null, methods, errors and signals', async () => {
    let calls = 0;
    const namespace = used.client.namespace(fresh());
    const odd = cached((n: number) => ((calls += 1), n), {
      namespace, key: 'n:{0}', cacheIf: (value) => value % 2 === 0, skip: (n) => n < 0,
    });
    for (const n of [1, 1, 2, 2, -2, -2]) await odd(n);
    expect(calls).toBe(5);
    let nulls = 0;
    const none = cached(() => ((nulls += 1), null), { namespace, key: 'null' });
    expect([await none(), await none()]).toEqual([null, null]);
    expect(nulls).toBe(1);
    class Service {
      constructor(readonly name: string) {}
      load = cached(async function load(this: Service, id: number) {
        return `${this.name}${id}`;
      } as (id: number) => Promise<string>, { namespace });
    }
    expect(await new Service('s').load(1)).toBe('s1');
    const failing = cached(async (): Promise<number> => { throw new RangeError('no'); }, {
      namespace, key: 'failing',
    });
    await expect(failing()).rejects.toThrow(RangeError);
    const abort = new AbortController();
    let seen: AbortSignal | undefined;
    const slow = cached((_: number, signal: AbortSignal) => {
      seen = signal;
      return new Promise<number>(() => {});
    }, { namespace, key: 'slow:{0}' });
    const call = slow(1, abort.signal);
    setTimeout(() => abort.abort(new Error('gone')), 50);
    await expect(call).rejects.toThrow('gone');
    expect(seen).not.toBe(abort.signal);
    expect(seen!.aborted).toBe(true);
    expect(() => cached(function* () {} as never, { namespace })).toThrow('generator');
    expect(() => cached(5 as never, { namespace })).toThrow('expected a function');
  });

  test('cachedMany asks for what is missing', async () => {
    const asked: number[][] = [];
    const users = cachedMany(async (ids: number[]) => {
      asked.push(ids);
      return new Map(ids.filter((id) => id < 10).map((id) => [id, `u${id}`]));
    }, { namespace: used.client.namespace(fresh()), key: 'user:{0}', ttl: '1m' });
    expect(await users([1, 2, 2])).toEqual(new Map([[1, 'u1'], [2, 'u2']]));
    expect(await users([3, 1, 99])).toEqual(new Map([[3, 'u3'], [1, 'u1']]));
    expect(asked).toEqual([[1, 2], [3, 99]]);
  });
});
