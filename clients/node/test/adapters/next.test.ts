import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Client } from '../../src/index.js';
import { createCacheHandler, createUseCacheHandler, type UseCacheEntry } from '../../src/next.js';
import { FakeLarder, LarderServer } from '../../src/testing.js';
import { deferred, fresh, useServer } from '../support.js';

const used = useServer();
let namespace: string;
let errors: any[];
beforeEach(() => {
  namespace = fresh('next');
  errors = [];
});
afterEach(() => expect(errors).toEqual([]));
const settings = (client = used.client) => ({
  client, namespace, onError: (error: unknown) => errors.push(error),
});

const now = () => performance.timeOrigin + performance.now();
function streamOf(...parts: string[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
      controller.close();
    },
  });
}
function entry(text: string, facts: Partial<UseCacheEntry> = {}): UseCacheEntry {
  return {
    value: streamOf(text), tags: [], stale: 60, timestamp: now(), expire: 3600, revalidate: 600,
    ...facts,
  };
}
const read = async (found: UseCacheEntry | undefined) =>
  found === undefined ? undefined : new Response(found.value).text();

describe('use cache', () => {
  test('an entry comes back with its facts and a new stream each time', async () => {
    const handler = createUseCacheHandler(settings());
    const facts = { tags: ['a', 'b'], stale: 1, timestamp: now(), expire: 100, revalidate: 10 };
    await handler.set('k', Promise.resolve({ value: streamOf('one ', 'two'), ...facts }));
    for (let index = 0; index < 2; index += 1) {
      const found = await handler.get('k', []);
      expect(found).toMatchObject(facts);
      expect(await read(found)).toBe('one two');
    }
    const stored = await used.client.namespace(namespace).get('k');
    expect(stored.ttlRemaining).toBeLessThanOrEqual(100_000);
    expect(stored.tags).toEqual(['a', 'b']);
    expect(await handler.get('missing', [])).toBeUndefined();
  });

  test('bytes of any kind, and none', async () => {
    const handler = createUseCacheHandler(settings());
    const bytes = new Uint8Array([0, 255, 1, 128]);
    const value = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes);
        controller.close();
      },
    });
    await handler.set('k', Promise.resolve(entry('', { value })));
    const found = await handler.get('k', []);
    expect(new Uint8Array(await new Response(found!.value).arrayBuffer())).toEqual(bytes);
    await handler.set('empty', Promise.resolve(entry('')));
    expect(await read(await handler.get('empty', []))).toBe('');
  });

  test('a read waits for the entry that is being made', async () => {
    const handler = createUseCacheHandler(settings());
    const pending = deferred<UseCacheEntry>();
    const setting = handler.set('k', pending.promise);
    let done = false;
    const getting = handler.get('k', []).then((found) => {
      done = true;
      return found;
    });
    expect(await handler.get('other', [])).toBeUndefined();
    expect(done).toBe(false);
    pending.resolve(entry('made'));
    await setting;
    expect(await read(await getting)).toBe('made');
  });

  test('a stream that breaks, and an entry that is not made, are not stored', async () => {
    const handler = createUseCacheHandler(settings());
    const value = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new Uint8Array([1]));
        controller.error(new Error('broken'));
      },
    });
    await handler.set('k', Promise.resolve(entry('', { value })));
    await handler.set('l', Promise.reject(new Error('not made')));
    expect(errors.map(({ message }) => message)).toEqual(['broken', 'not made']);
    errors = [];
    expect(await handler.get('k', [])).toBeUndefined();
    expect(await handler.get('l', [])).toBeUndefined();
  });

  test('an entry that expires at once is not stored, one without an end is', async () => {
    const handler = createUseCacheHandler(settings());
    await handler.set('k', Promise.resolve(entry('x', { expire: 0 })));
    expect(await handler.get('k', [])).toBeUndefined();
    for (const expire of [4_294_967_294, Number.POSITIVE_INFINITY]) {
      await handler.set('l', Promise.resolve(entry('x', { expire })));
      expect(await read(await handler.get('l', []))).toBe('x');
    }
  });

  test('an entry that is too large is an error, and not stored', async () => {
    const handler = createUseCacheHandler(settings());
    await handler.set('k', Promise.resolve(entry('x'.repeat(2 << 20))));
    expect(errors.map(({ reason }) => reason)).toEqual(['VALUE_TOO_LARGE']);
    errors = [];
    expect(await handler.get('k', [])).toBeUndefined();
  });

  test('updateTags is seen by all processes, and not by newer entries', async () => {
    const handler = createUseCacheHandler(settings());
    const other = createUseCacheHandler(settings());
    await handler.set('k', Promise.resolve(entry('old', { tags: ['t'] })));
    await handler.set('l', Promise.resolve(entry('other', { tags: ['u'] })));
    await other.updateTags(['t']);
    expect(await handler.get('k', [])).toBeUndefined();
    expect(await read(await handler.get('l', []))).toBe('other');
    await handler.set('k', Promise.resolve(entry('new', { tags: ['t'] })));
    expect(await read(await other.get('k', []))).toBe('new');
  });

  test('an entry that was begun before updateTags is not served', async () => {
    const handler = createUseCacheHandler(settings());
    const begun = entry('old', { tags: ['t'] });
    await handler.updateTags(['t']);
    await handler.set('k', Promise.resolve(begun));
    expect(await handler.get('k', [])).toBeUndefined();
  });

  test('soft tags, which no entry carries', async () => {
    const handler = createUseCacheHandler(settings());
    await handler.set('k', Promise.resolve(entry('x')));
    expect(await handler.getExpiration(['_N_T_/a'])).toBe(Number.POSITIVE_INFINITY);
    expect(await read(await handler.get('k', ['_N_T_/a', '_N_T_/layout']))).toBe('x');
    await createUseCacheHandler(settings()).updateTags(['_N_T_/a']);
    expect(await handler.get('k', ['_N_T_/a', '_N_T_/layout'])).toBeUndefined();
    expect(await read(await handler.get('k', ['_N_T_/layout']))).toBe('x');
  });

  test('with durations, entries are stale at first, and expire after them', async () => {
    const handler = createUseCacheHandler(settings());
    await handler.set('k', Promise.resolve(entry('x', { tags: ['t'] })));
    await handler.updateTags(['t'], { expire: 3600 });
    expect(await handler.get('k', [])).toMatchObject({ revalidate: -1 });
    await handler.updateTags(['t'], {});
    expect(await handler.get('k', [])).toMatchObject({ revalidate: -1 });
    await handler.updateTags(['t'], { expire: 0.001 });
    await expect.poll(() => handler.get('k', [])).toBeUndefined();
    await handler.set('k', Promise.resolve(entry('new', { tags: ['t'] })));
    expect(await handler.get('k', [])).toMatchObject({ revalidate: 600 });
    await handler.updateTags(['t'], { expire: 0 });
    expect(await handler.get('k', [])).toBeUndefined();
  });

  test('more tags than an entry of Larder can have, and long ones', async () => {
    const handler = createUseCacheHandler(settings());
    const tags = Array.from({ length: 60 }, (_, index) => `${index}-${'t'.repeat(200)}`);
    await handler.set('k', Promise.resolve(entry('x', { tags })));
    expect((await handler.get('k', []))!.tags).toEqual(tags);
    await handler.updateTags([tags[59]!]);
    expect(await handler.get('k', [])).toBeUndefined();
  });

  test('an entry or a record that cannot be read is a miss, and an error is reported', async () => {
    const handler = createUseCacheHandler(settings());
    await handler.set('k', Promise.resolve(entry('text', { tags: ['a'] })));
    await used.client.namespace(`${namespace}-tags`).set('stale a', null);
    expect(await handler.get('k', [])).toBeUndefined();
    expect(errors.splice(0)).toHaveLength(1);
    await used.client.namespace(namespace).set('k', 'of another program');
    expect(await handler.get('k', [])).toBeUndefined();
  });

  test('with a client that throws at outages reads are misses', async () => {
    const fake = new FakeLarder();
    fake.fail();
    const client = new Client({ transport: fake.transport, onError: 'raise', logger: null });
    const handler = createUseCacheHandler(settings(client));
    expect(await handler.get('k', ['soft'])).toBeUndefined();
    await handler.set('k', Promise.resolve(entry('text')));
    fake.recover();
    fake.fail({ code: 'PERMISSION_DENIED' });
    expect(await handler.get('k', [])).toBeUndefined();
    expect(errors.splice(0)).toMatchObject([{ code: 'PERMISSION_DENIED' }]);
    const Handler = createCacheHandler({ ...settings(client), buildId: 'b' });
    expect(await new Handler({}).get('k', {})).toBeNull();
    expect(errors.splice(0)).toMatchObject([{ code: 'PERMISSION_DENIED' }]);
    await client.close();
  });

  test('empty tags are left out', async () => {
    const Handler = createCacheHandler({ ...settings(), buildId: 'b' });
    const page = { kind: 'APP_PAGE', headers: { 'x-next-cache-tags': '' } };
    await new Handler({}).set('page', page, {});
    expect(await new Handler({}).get('page', {})).toMatchObject({ value: { kind: 'APP_PAGE' } });
  });

  test('at an outage reads are misses, and updateTags rejects', async () => {
    const server = await LarderServer.start();
    const client = new Client({ target: server.target, preset: 'local', logger: null });
    const handler = createUseCacheHandler(settings(client));
    await handler.set('k', Promise.resolve(entry('x')));
    await server.stop();
    expect(await handler.get('k', ['soft'])).toBeUndefined();
    await handler.set('k', Promise.resolve(entry('x')));
    await handler.refreshTags();
    await expect(handler.updateTags(['t'])).rejects.toThrow(/UNAVAILABLE/);
    await client.close();
  });
});

describe('pages and results of fetch', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'larder-next-'));
    mkdirSync(join(folder, 'server'));
    writeFileSync(join(folder, 'BUILD_ID'), 'build-1');
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const handlerOf = (options: object = {}, client = used.client) => {
    const Handler = createCacheHandler({ ...settings(client), ...options });
    return (context = {}) =>
      new Handler({ serverDistDir: join(folder, 'server'), revalidatedTags: [], ...context });
  };
  const page = (facts = {}) => ({
    kind: 'APP_PAGE', html: '<p>', rscData: Buffer.from([0, 255]), status: 200,
    postponed: undefined, headers: { 'x-next-cache-tags': 'p1,_N_T_/a' },
    segmentData: new Map([['/_tree', Buffer.from('tree')], ['/', Buffer.from('')]]), ...facts,
  });
  const fetched = (facts = {}) => ({
    kind: 'FETCH', data: { headers: {}, body: 'Ym9keQ==', status: 200, url: 'http://x' },
    revalidate: 60, tags: ['f1'], ...facts,
  });

  test('a page comes back with its bytes, segments and lifetime', async () => {
    const make = handlerOf();
    const cacheControl = { revalidate: 10, expire: 100 };
    await make().set('/a', page(), { cacheControl });
    const found = await make().get('/a', { kind: 'APP_PAGE' });
    expect(found).toMatchObject({ cacheControl, value: { kind: 'APP_PAGE', html: '<p>' } });
    const { rscData, segmentData } = found!.value as any;
    expect(Buffer.isBuffer(rscData)).toBe(true);
    expect([...rscData]).toEqual([0, 255]);
    expect(segmentData.get('/_tree').toString()).toBe('tree');
    expect(Math.abs(found!.lastModified - now())).toBeLessThan(5000);
    const stored = await used.client.namespace(namespace).get('page:build-1:/a');
    expect(stored.ttlRemaining).toBeLessThanOrEqual(100_000);
  });

  test.each([
    ['a page without a value', null],
    ['a redirect', { kind: 'REDIRECT', props: { $bytes: 'x', $map: 1, $$y: 2, z: [null] } }],
    ['a route', { kind: 'APP_ROUTE', body: Buffer.from('b'), status: 200, headers: { a: ['b'] } }],
    ['a page of pages', { kind: 'PAGES', html: 'h', pageData: { props: {} }, headers: {} }],
  ])('%s comes back as it was', async (_, value) => {
    const make = handlerOf();
    const cacheControl = { revalidate: false as const, expire: undefined };
    await make().set('/a', value as any, { cacheControl });
    const found = await make().get('/a', { kind: 'PAGES' });
    expect(found!.value).toEqual(value);
    expect(found!.cacheControl).toEqual({ revalidate: false });
  });

  test('a page belongs to its build, a result of fetch to all', async () => {
    const make = handlerOf();
    await make().set('/a', page(), {});
    await make().set('hash', fetched(), { fetchCache: true, tags: ['f1'] });
    writeFileSync(join(folder, 'BUILD_ID'), 'build-2');
    const next = handlerOf();
    expect(await next().get('/a', { kind: 'APP_PAGE' })).toBe(null);
    expect(await next().get('hash', { kind: 'FETCH' })).toMatchObject({ value: { kind: 'FETCH' } });
    const first = handlerOf({ buildId: 'build-1' });
    expect(await first().get('/a', { kind: 'APP_PAGE' })).not.toBe(null);
  });

  test('before there is a build, pages are not cached', async () => {
    rmSync(join(folder, 'BUILD_ID'));
    const make = handlerOf();
    await make().set('/a', page(), {});
    expect(await make().get('/a', { kind: 'APP_PAGE' })).toBe(null);
    const unknown = new (createCacheHandler(settings()))({});
    await unknown.set('/a', page(), {});
    expect(await unknown.get('/a', { kind: 'APP_PAGE' })).toBe(null);
  });

  test('revalidateTag of a tag that the page carries', async () => {
    const make = handlerOf();
    await make().set('/a', page(), { cacheControl: { revalidate: false, expire: undefined } });
    await make().revalidateTag('other');
    expect(await make().get('/a', { kind: 'APP_PAGE' })).not.toBe(null);
    await make().revalidateTag(['_N_T_/a']);
    expect(await make().get('/a', { kind: 'APP_PAGE' })).toBe(null);
    await make().set('/a', page(), {});
    expect(await make().get('/a', { kind: 'APP_PAGE' })).not.toBe(null);
  });

  test('tags and soft tags of a result of fetch', async () => {
    const make = handlerOf();
    const context = { kind: 'FETCH', tags: ['f2'], softTags: ['_N_T_/a'] };
    for (const tag of ['f1', 'f2', '_N_T_/a']) {
      await make().set('hash', fetched(), { fetchCache: true, tags: ['f2'] });
      expect(await make().get('hash', context)).not.toBe(null);
      await make().revalidateTag(tag);
      expect(await make().get('hash', context)).toBe(null);
    }
    await make().set('hash', fetched(), { fetchCache: true, tags: ['f2'] });
    expect(await make({ revalidatedTags: ['f2'] }).get('hash', context)).toBe(null);
  });

  test('with durations, a page and a result of fetch are stale', async () => {
    const make = handlerOf();
    const cacheControl = { revalidate: false as const, expire: undefined };
    await make().set('/a', page(), { cacheControl });
    await make().set('hash', fetched(), { fetchCache: true });
    await make().revalidateTag(['p1', 'f1'], { expire: 3600 });
    const found = await make().get('/a', { kind: 'APP_PAGE' });
    // Next.js makes it again in the background: it was fresh for a second, which is over.
    expect(found!.cacheControl).toEqual({ revalidate: 1, expire: undefined });
    expect(found!.lastModified + 1000).toBeLessThan(now());
    expect((await make().get('hash', { kind: 'FETCH' }))!.lastModified).toBe(1);
    make().resetRequestCache();
  });

  test('a page that is too large is an error, and not stored', async () => {
    const make = handlerOf();
    await make().set('/a', page({ html: 'x'.repeat(2 << 20) }), {});
    expect(errors.map(({ reason }) => reason)).toEqual(['VALUE_TOO_LARGE']);
    errors = [];
    expect(await make().get('/a', { kind: 'APP_PAGE' })).toBe(null);
  });

  test('at an outage reads are misses, and revalidateTag rejects', async () => {
    const server = await LarderServer.start();
    const client = new Client({ target: server.target, preset: 'local', logger: null });
    const make = handlerOf({}, client);
    await make().set('/a', page(), {});
    await server.stop();
    expect(await make().get('/a', { kind: 'APP_PAGE' })).toBe(null);
    await make().set('/a', page(), {});
    await expect(make().revalidateTag('t')).rejects.toThrow(/UNAVAILABLE/);
    await client.close();
  });
});
