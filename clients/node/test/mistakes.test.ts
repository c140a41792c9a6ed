// A wrong argument is the same error with a server, without one, and with the fake.
import { inspect } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Client, loaded, type Namespace } from '../src/index.js';
import { FakeLarder, LarderServer } from '../src/testing.js';
import { until } from './support.js';

type Call = (cache: Namespace, client: Client) => Promise<unknown>;
const rows: [string, Call][] = [];

/** Adds a row for each operation and each bad value. */
function each(
  what: string,
  bad: readonly unknown[],
  calls: Record<string, (cache: Namespace, bad: any, client: Client) => Promise<unknown>>,
): void {
  for (const [name, call] of Object.entries(calls)) {
    for (const value of bad) {
      const shown = typeof value === 'string' && value.length > 20
        ? `${value.slice(0, 5)}... (${value.length})`
        : inspect(value, { breakLength: Infinity }).slice(0, 60);
      rows.push([`${name}: ${what} ${shown}`, (cache, client) => call(cache, value, client)]);
    }
  }
}

const load = () => 1;
const patch = { merge: { a: 1 } };
const options: Record<string, (cache: Namespace, given: any) => Promise<unknown>> = {
  get: (cache, given) => cache.get('k', given),
  has: (cache, given) => cache.has('k', given),
  set: (cache, given) => cache.set('k', 1, given),
  touch: (cache, given) => cache.touch('k', '1m', given),
  delete: (cache, given) => cache.delete('k', given),
  increment: (cache, given) => cache.increment('k', 1, given),
  patch: (cache, given) => cache.patch('k', patch, given),
  getMany: (cache, given) => cache.getMany(['k'], given),
  setMany: (cache, given) => cache.setMany({ k: 1 }, given),
  deleteMany: (cache, given) => cache.deleteMany(['k'], given),
  getOrFetch: (cache, given) => cache.getOrFetch('k', load, given),
  getOrFetchMany: (cache, given) => cache.getOrFetchMany(['k'], () => ({ k: 1 }), given),
  invalidate: (cache, given) => cache.invalidate({ keys: ['k'] }, given),
  invalidateNamespace: (cache, given) => cache.invalidateNamespace(given),
  publishEvent: (cache, given) => cache.publishEvent('e', {}, given),
  listKeys: (cache, given) => cache.listKeys(given).next(),
  countKeys: (cache, given) => cache.countKeys(given),
  stats: (cache, given) => cache.stats(given),
};
const { get, has, set, setMany, delete: remove, deleteMany, increment, patch: change, touch } =
  options;
const { getMany, getOrFetch, getOrFetchMany, invalidate } = options;

each('key', ['', 7, null, '\ud800', { key: '' }], {
  get: (cache, key) => cache.get(key),
  has: (cache, key) => cache.has(key),
  set: (cache, key) => cache.set(key, 1),
  touch: (cache, key) => cache.touch(key, '1m'),
  delete: (cache, key) => cache.delete(key),
  increment: (cache, key) => cache.increment(key),
  patch: (cache, key) => cache.patch(key, patch),
  getMany: (cache, key) => cache.getMany(['a', key]),
  setMany: (cache, key) => cache.setMany([['a', 1], [key, 1]]),
  'setMany without a lifetime': (cache, key) => cache.setMany([[key, 1]], { ttl: 0 }),
  deleteMany: (cache, key) => cache.deleteMany(['a', key]),
  getOrFetch: (cache, key) => cache.getOrFetch(key, load),
  getOrFetchMany: (cache, key) => cache.getOrFetchMany(['a', key], () => ({})),
  invalidate: (cache, key) => cache.invalidate({ keys: ['a', key] }),
});
each('keys', ['text', 7, null], {
  getMany: (cache, keys) => cache.getMany(keys),
  deleteMany: (cache, keys) => cache.deleteMany(keys),
  getOrFetchMany: (cache, keys) => cache.getOrFetchMany(keys, () => ({})),
  invalidate: (cache, keys) => cache.invalidate({ keys }),
  tags: (cache, tags) => cache.invalidate({ tags }),
  globs: (cache, globs) => cache.invalidate({ globs }),
  stats: (_, names, client) => client.stats(names),
});
each('entries', ['text', 7, null, undefined], { setMany: (cache, all) => cache.setMany(all) });
for (const params of [{ a: 1 }, { '': 'x' }, { a: '\ud800' }]) {
  const keyed = { get, has, set, touch, delete: remove, increment, patch: change, getOrFetch };
  for (const [name, call] of Object.entries(keyed)) {
    rows.push([`${name}: params ${JSON.stringify(params)}`, (cache) => call!(cache, { params })]);
  }
}
const lists = ['tag', [''], ['x'.repeat(129)], [7], ['\ud800'],
  Array.from({ length: 33 }, (_, index) => `t${index}`)];
each('ttl', ['soon', Number.NaN, {}, '5 m'], {
  set: (cache, ttl) => set!(cache, { ttl }),
  setMany: (cache, ttl) => setMany!(cache, { ttl }),
  touch: (cache, ttl) => cache.touch('k', ttl),
  increment: (cache, ttl) => increment!(cache, { ttl }),
  patch: (cache, ttl) => change!(cache, { ttl }),
  getOrFetch: (cache, ttl) => getOrFetch!(cache, { ttl }),
  getOrFetchMany: (cache, ttl) => getOrFetchMany!(cache, { ttl }),
  loaded: (cache, ttl) => cache.getOrFetch('l', () => loaded(1, { ttl }), { timeout: 0 }),
  'loaded many': (cache, ttl) =>
    cache.getOrFetchMany(['m'], () => ({ m: loaded(1, { ttl }) }), { timeout: 0 }),
});
each('ttl', [0, -1, '-1s', '0ms'], {
  touch: (cache, ttl) => cache.touch('k', ttl),
  increment: (cache, ttl) => increment!(cache, { ttl }),
  patch: (cache, ttl) => change!(cache, { ttl }),
});
each('tags', lists, {
  set: (cache, tags) => set!(cache, { tags }),
  setMany: (cache, tags) => setMany!(cache, { tags }),
  getOrFetch: (cache, tags) => getOrFetch!(cache, { tags }),
  getOrFetchMany: (cache, tags) => getOrFetchMany!(cache, { tags }),
  loaded: (cache, tags) => cache.getOrFetch('l', () => loaded(1, { tags }), { timeout: 0 }),
  'loaded many': (cache, tags) =>
    cache.getOrFetchMany(['m'], () => ({ m: loaded(1, { tags }) }), { timeout: 0 }),
  handle: async (_, tags, client) => client.namespace('n', { tags }),
});
each('tags', lists.slice(0, -1), { invalidate: (cache, tags) => cache.invalidate({ tags }) });
const { getOrFetch: _, getOrFetchMany: __, ...timed } = options;
each('timeout', [0, -1, 'soon', Infinity], Object.fromEntries(
  Object.entries(timed).map(([name, call]) => [name, (cache, timeout) => call(cache, { timeout })]),
));
each('timeout', [-1, 'soon', Infinity], {
  getOrFetch: (cache, timeout) => getOrFetch!(cache, { timeout }),
  getOrFetchMany: (cache, timeout) => getOrFetchMany!(cache, { timeout }),
});
const reads = { get, has, getMany, getOrFetch, getOrFetchMany };
for (const [option, bad] of [['maxStale', [-1, 'soon']], ['touch', [0, -1, 'soon']]] as const) {
  each(option, bad, Object.fromEntries(Object.entries(reads).map(
    ([name, call]) => [name, (cache, value) => call!(cache, { [option]: value })],
  )));
}
each('holdOff', [-1, 'soon', '2h'], {
  delete: (cache, holdOff) => remove!(cache, { holdOff }),
  deleteMany: (cache, holdOff) => deleteMany!(cache, { holdOff }),
  invalidate: (cache, holdOff) => invalidate!(cache, { holdOff }),
});
each('condition', [{ ifVersion: '' }], { set: set!, delete: remove!, patch: change! });
each('conditions', [{ ifAbsent: true, ifPresent: true }, { ifAbsent: true, ifVersion: 'v' }], {
  set: set!,
});
each('value', [Number.NaN, new Map([[1, 2]]), { a: { b: 1n } }, '\ud800', undefined], {
  set: (cache, value) => cache.set('k', value),
  setMany: (cache, value) => cache.setMany({ a: 1, k: value }),
  merge: (cache, merge) => cache.patch('k', { merge: [merge] }),
});
each('amount', [0.5, Number.NaN, 2n ** 63n, 2 ** 60], {
  delta: (cache, delta) => cache.increment('k', delta),
  initial: (cache, initial) => increment!(cache, { initial }),
});
each('patch', [
  {}, null, { merge: 1, jsonPatch: [] }, { jsonPatch: 'text' }, { jsonPatch: [null] },
  { jsonPatch: [{ op: 'none', path: '/a' }] }, { jsonPatch: [{ op: 'add', path: '/a' }] },
  { jsonPatch: [{ op: 'remove' }] }, { jsonPatch: [{ op: 'remove', path: 'a' }] },
  { jsonPatch: [{ op: 'move', path: '/a' }] },
], { patch: (cache, given) => cache.patch('k', given) });
each('ttl with keepTtl', ['1m'], {
  patch: (cache, ttl) => change!(cache, { ttl, keepTtl: true }),
});
const globs = ['[z-', '[b-a]', 'a\\', 'x'.repeat(1025), '?a'.repeat(33)];
each('glob', ['', 7, ...globs], {
  invalidate: (cache, glob) => cache.invalidate({ globs: [glob] }),
});
each('glob', [7, ...globs], {
  listKeys: (cache, glob) => cache.listKeys({ glob }).next(),
  countKeys: (cache, glob) => cache.countKeys({ glob }),
});
each('pageSize', [0, -1, 1.5, 'many'], {
  listKeys: (cache, pageSize) => cache.listKeys({ pageSize }).next(),
});
each('event', ['', 7, 'a\u0007', 'x'.repeat(256)], {
  client: (_cache, name, client) => client.publishEvent(name),
  namespace: (cache, name) => cache.publishEvent(name),
});
each('attributes', [
  { a: 1 }, { '': 'x' }, { a: 'x'.repeat(1025) }, { ['n'.repeat(129)]: 'x' },
  Object.fromEntries(Array.from({ length: 65 }, (_each, index) => [`a${index}`, ''])),
], { publishEvent: (cache, attributes) => cache.publishEvent('e', attributes) });
each('loader', [7, 'text', {}], {
  getOrFetch: (cache, loader) => cache.getOrFetch('k', loader),
  getOrFetchMany: (cache, loader) => cache.getOrFetchMany(['k'], loader),
});
each('name', ['', 7, null, '\ud800'], { namespace: async (_cache, name, client) =>
  client.namespace(name) });
each('nearCache', [{ maxBytes: 0 }, { maxEntries: 1.5 }], { namespace: async (_cache, nearCache,
  client) => client.namespace('n', { nearCache }) });
each('onError', ['never', 7], { namespace: async (_cache, onError, client) =>
  client.namespace('n', { onError }) });
for (const [option, bad] of [
  ['schemaVersion', ['', 'a b', 'x'.repeat(65)]], ['preset', ['fast', 'toString']],
  ['callTimeout', [0, 'soon']], ['connectTimeout', [0]], ['wait', [-1]], ['background', [-1, 1.5]],
  ['waitMargin', [0]], ['onError', ['never']], ['keepalive', [0]], ['maxIdle', [0]],
] as const) {
  each(option, bad, { client: async (_cache, value, client) => {
    const { given } = client as unknown as { given: object };
    await new Client({ ...given, [option]: value }).close();
  } });
}

interface Place { name: string; client: Client; cache: Namespace; end?: () => Promise<void> }
const places: Place[] = [];

beforeAll(async () => {
  const server = await LarderServer.start();
  const down = new FakeLarder();
  down.fail();
  const all: [string, object][] = [
    ['server', { target: server.target }],
    ['no server', { target: '127.0.0.1:1' }],
    ['fake', { transport: new FakeLarder().transport }],
    ['fake with an outage', { transport: down.transport }],
  ];
  for (const [name, where] of all) {
    for (const onError of ['open', 'raise'] as const) {
      const given = { ...where, preset: 'local' as const, logger: null, onError };
      const client = Object.assign(new Client(given), { given });
      const end = name === 'server' && onError === 'raise' ? () => server.stop() : undefined;
      places.push({ name: `${name}, ${onError}`, client, cache: client.namespace('n'), end });
    }
  }
});
afterAll(async () => {
  for (const { client, end } of places) {
    await client.close();
    await end?.();
  }
});

test.each(rows)('%s', async (row, call) => {
  const errors: [string, object][] = [];
  for (const { name, client, cache } of places) {
    // At an outage that is thrown, there is no answer of a loader.
    if (row.startsWith('loaded') && name.endsWith('raise')) continue;
    const error = await call(cache, client).then(
      (answer) => ({ answered: answer }),
      (thrown: Error & { code?: string; reason?: string }) => ({
        class: thrown.constructor.name, code: thrown.code, reason: thrown.reason,
        message: thrown.message,
      }),
    );
    errors.push([name, error]);
  }
  const [first] = errors;
  expect(first![1]).not.toHaveProperty('answered');
  for (const each of errors) expect([each[0], each[1]]).toEqual([each[0], first![1]]);
  const expected = ['TypeError', 'RangeError', 'EncodeError', 'InvalidArgument'];
  expect(expected).toContain((first![1] as { class: string }).class);
});

test('wrong tags are a mistake also where they play no part', async () => {
  const fake = new FakeLarder();
  const client = new Client({ transport: fake.transport, logger: null });
  const cache = client.namespace('n', { nearCache: true });
  await cache.set('k', 1);
  await until(async () => (await cache.get('k')).tier === 'client', 'the value is kept');
  const made = fake.calls.length;
  const wrong = { tags: [''] };
  for (const call of [
    () => cache.getOrFetch('k', () => 1, wrong),
    () => cache.set('k', 1, { ttl: 0, ...wrong }),
    () => cache.setMany({ k: 1 }, { ttl: 0, ...wrong }),
  ]) {
    await expect(call()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  }
  expect(fake.calls).toHaveLength(made);
  await client.close();
});
