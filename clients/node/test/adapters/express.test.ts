import { createHash } from 'node:crypto';
import type { Server } from 'node:http';
import express, { type Express } from 'express';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { addCacheTags, larderCache, type LarderCacheOptions } from '../../src/express.js';
import { Client } from '../../src/index.js';
import { LarderServer } from '../../src/testing.js';
import { deferred, fresh, until, useServer } from '../support.js';
import { ask, end, serve } from './support.js';

const used = useServer();
let app: Express;
let url: string;
let server: Server;
let namespace: string;
let errors: unknown[];
let calls: number;

beforeEach(async () => {
  namespace = fresh('http');
  errors = [];
  calls = 0;
  app = express();
  ({ url, server } = await serve(app));
});
afterEach(async () => {
  await end(server);
  expect(errors).toEqual([]);
});

function cacheOf(options: LarderCacheOptions = {}) {
  return larderCache({
    client: used.client, namespace, ttl: '1m', onError: (error) => errors.push(error), ...options,
  });
}

/** A route that counts its calls. */
function count(path: string, options: LarderCacheOptions = {}, headers = {}) {
  const cache = cacheOf(options);
  app.all(path, cache, (request, response) => {
    calls += 1;
    response.set(headers).json({ calls, url: request.originalUrl });
  });
  return cache;
}

const entries = () => used.client.namespace(namespace);

describe('a cached route', () => {
  test('the second request is a hit', async () => {
    count('/a');
    const first = await ask(`${url}/a`);
    expect(first).toMatchObject({ status: 200, text: '{"calls":1,"url":"/a"}' });
    expect(first.headers).toMatchObject({ 'x-cache': 'MISS' });
    await until(async () => (await entries().countKeys()) === 1, 'the answer is stored');
    const second = await ask(`${url}/a`);
    expect(second.text).toBe(first.text);
    expect(second.headers).toMatchObject({
      'x-cache': 'HIT',
      age: '0',
      etag: first.headers.etag,
      'content-type': first.headers['content-type'],
      'content-length': first.headers['content-length'],
    });
    expect(Number(second.headers['x-cache-ttl-remaining'])).toBeGreaterThan(55);
    expect(second.headers.date).toBeDefined();
    expect(calls).toBe(1);
  });

  test('Age is that of the entry, by the clock of the store', async () => {
    count('/a', {}, { Age: '100', 'Cache-Control': 'max-age=1000' });
    await ask(`${url}/a`);
    await vi.waitFor(async () => {
      const { headers } = await ask(`${url}/a`);
      expect(headers['x-cache']).toBe('HIT');
      expect(Number(headers.age)).toBeGreaterThanOrEqual(101);
      expect(Number(headers['x-cache-ttl-remaining'])).toBeLessThanOrEqual(900);
    }, { timeout: 5000 });
  });

  test('50 requests at once make the answer once', async () => {
    const gate = deferred();
    app.get('/a', cacheOf(), async (_request, response) => {
      calls += 1;
      await gate.promise;
      response.json({ calls });
    });
    const all = Array.from({ length: 50 }, () => ask(`${url}/a`));
    await until(() => calls === 1, 'the handler runs');
    gate.resolve();
    const answers = await Promise.all(all);
    expect(new Set(answers.map(({ text }) => text))).toEqual(new Set(['{"calls":1}']));
    expect(calls).toBe(1);
  });

  test('two processes share answers and computations', async () => {
    const client = new Client({ target: used.server.target, preset: 'local' });
    const gate = deferred();
    const handler = async (_request: unknown, response: any) => {
      calls += 1;
      await gate.promise;
      response.json({ calls });
    };
    app.get('/one', cacheOf({ varyOrigin: false }), handler);
    const other = express();
    other.get('/one', cacheOf({ client, varyOrigin: false }), handler);
    const second = await serve(other);
    const all = [url, second.url, url, second.url].map((base) => ask(`${base}/one`));
    await until(() => calls > 0, 'a handler runs');
    gate.resolve();
    expect((await Promise.all(all)).map(({ text }) => text)).toEqual(Array(4).fill('{"calls":1}'));
    await end(second.server);
    await client.close();
  });

  test('an answer that is written in parts', async () => {
    app.get('/a', cacheOf(), (_request, response) => {
      calls += 1;
      response.writeHead(200, 'Fine', { 'Content-Type': 'text/plain', 'X-Own': 'yes' });
      response.write('snow ');
      response.write(Buffer.from('☃'));
      response.end('c2g=', 'base64');
    });
    const first = await ask(`${url}/a`);
    expect(first.text).toBe('snow ☃sh');
    await until(async () => (await ask(`${url}/a`)).headers['x-cache'] === 'HIT', 'a hit');
    const second = await ask(`${url}/a`);
    expect(second).toMatchObject({ status: 200, text: 'snow ☃sh' });
    expect(second.headers).toMatchObject({ 'content-type': 'text/plain', 'x-own': 'yes' });
    expect(second.headers['transfer-encoding']).toBeUndefined();
    expect(calls).toBe(1);
  });

  test('an empty body, and a callback of end', async () => {
    const ended = vi.fn();
    app.get('/a', cacheOf(), (_request, response) => void response.status(200).end(ended));
    expect((await ask(`${url}/a`)).text).toBe('');
    expect(ended).toHaveBeenCalledTimes(1);
    await until(async () => (await ask(`${url}/a`)).headers['x-cache'] === 'HIT', 'a hit');
  });

  test('HEAD is answered from the entry of GET, and makes none', async () => {
    count('/a');
    const missed = await ask(`${url}/a`, { method: 'HEAD' });
    expect(missed.headers['x-cache']).toBe('MISS');
    expect(await entries().countKeys()).toBe(0);
    const full = await ask(`${url}/a`);
    await until(async () => (await entries().countKeys()) === 1, 'the answer is stored');
    const head = await ask(`${url}/a`, { method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, text: '' });
    expect(head.headers).toMatchObject({
      'x-cache': 'HIT', 'content-length': String(full.text.length), etag: full.headers.etag,
    });
  });
});

describe('304', () => {
  test('for the ETag of the answer, from the cache and at first', async () => {
    count('/a');
    const { etag } = (await ask(`${url}/a`)).headers;
    await until(async () => (await ask(`${url}/a`)).headers['x-cache'] === 'HIT', 'a hit');
    const second = await ask(`${url}/a`, { headers: { 'If-None-Match': `"x", ${etag}` } });
    expect(second).toMatchObject({ status: 304, text: '' });
    expect(second.headers).toMatchObject({ etag, 'x-cache': 'HIT' });
    expect(second.headers['content-length']).toBeUndefined();
    expect((await ask(`${url}/a`, { headers: { 'If-None-Match': '"other"' } })).status).toBe(200);
    expect(calls).toBe(1);
  });

  test('a request with a condition fills the cache with the whole answer', async () => {
    const body = 'the same';
    app.get('/a', cacheOf(), (_request, response) => {
      calls += 1;
      response.type('text').send(body);
    });
    app.get('/plain', (_request, response) => void response.type('text').send(body));
    const { etag } = (await ask(`${url}/plain`)).headers;
    const first = await ask(`${url}/a`, { headers: { 'If-None-Match': etag! } });
    expect(first).toMatchObject({ status: 304, text: '' });
    await until(async () => (await entries().countKeys()) === 1, 'the answer is stored');
    const second = await ask(`${url}/a`);
    expect(second).toMatchObject({ status: 200, text: body });
    expect(second.headers['x-cache']).toBe('HIT');
    expect(calls).toBe(1);
  });

  test('for If-Modified-Since', async () => {
    const date = 'Sun, 01 Nov 2026 00:00:00 GMT';
    count('/a', {}, { 'Last-Modified': date });
    await ask(`${url}/a`);
    await until(async () => (await ask(`${url}/a`)).headers['x-cache'] === 'HIT', 'a hit');
    const since = (value: string) => ask(`${url}/a`, { headers: { 'If-Modified-Since': value } });
    expect((await since(date)).status).toBe(304);
    expect((await since('Sat, 31 Oct 2026 00:00:00 GMT')).status).toBe(200);
  });

  test('an answer that is written without an ETag gets one in the cache', async () => {
    app.get('/a', cacheOf(), (_request, response) => {
      response.write('part');
      response.end();
    });
    await ask(`${url}/a`);
    await until(async () => (await ask(`${url}/a`)).headers['x-cache'] === 'HIT', 'a hit');
    expect((await ask(`${url}/a`)).headers.etag).toMatch(/^W\/"4-/);
  });
});

describe('what makes different answers', () => {
  const texts = async (paths: [string, Record<string, string>?][]) => {
    const found = [];
    for (const [path, headers] of paths) found.push((await ask(url + path, { headers })).text);
    return found.map((text) => JSON.parse(text).calls);
  };

  test('the path and the query, in any order of its names', async () => {
    count('/*any');
    expect(
      await texts([['/a?x=1&y=2'], ['/a?y=2&x=1'], ['/a?x=2&y=2'], ['/b?x=1&y=2'], ['/a?x=1&x=2']]),
    ).toEqual([1, 1, 2, 3, 4]);
  });

  test('with varyQuery, these parameters only', async () => {
    count('/a', { varyQuery: ['page'] });
    expect(await texts([['/a?page=1&utm=x'], ['/a?utm=y&page=1'], ['/a?page=2'], ['/a']]))
      .toEqual([1, 1, 2, 3]);
  });

  test('with an empty varyQuery, none', async () => {
    count('/a', { varyQuery: [] });
    expect(await texts([['/a?page=1'], ['/a?page=2'], ['/a']])).toEqual([1, 1, 1]);
  });

  test('the host, unless it is to make no difference', async () => {
    count('/a');
    app.get('/same', cacheOf({ varyOrigin: false }), (_request, response) => {
      calls += 1;
      response.json({ calls });
    });
    expect(await texts([['/a', { Host: 'one' }], ['/a', { Host: 'two' }], ['/a', { Host: 'one' }]]))
      .toEqual([1, 2, 1]);
    expect(await texts([['/same', { Host: 'one' }], ['/same', { Host: 'two' }]])).toEqual([3, 3]);
  });

  test('with varyHeaders, these headers', async () => {
    count('/a', { varyHeaders: ['Accept-Language'] });
    const language = (value: string): [string, Record<string, string>] =>
      ['/a', { 'Accept-Language': value }];
    expect(await texts([language('de'), language('en'), language('de'), ['/a'], ['/a']]))
      .toEqual([1, 2, 1, 3, 3]);
  });

  test('the headers in Vary, also for a process that has not seen the answer', async () => {
    const client = new Client({ target: used.server.target, preset: 'local' });
    const handler = (request: any, response: any) => {
      calls += 1;
      response.set('Vary', 'Accept-Language, Accept');
      response.json({ calls, language: request.headers['accept-language'] ?? null });
    };
    app.get('/a', cacheOf({ varyOrigin: false }), handler);
    const other = express();
    other.get('/a', cacheOf({ client, varyOrigin: false }), handler);
    const second = await serve(other);
    const in_ = async (base: string, language?: string) => {
      const headers: Record<string, string> = {};
      if (language !== undefined) headers['Accept-Language'] = language;
      const answer = await ask(`${base}/a`, { headers });
      const read = JSON.parse(answer.text);
      expect(read.language).toBe(language ?? null);
      return answer.headers['x-cache'];
    };
    await in_(url, 'de');
    for (const language of ['de', 'en', undefined]) {
      await until(async () => (await in_(url, language)) === 'HIT', `a hit for ${language}`);
      expect(await in_(second.url, language)).toBe('HIT');
    }
    // The first answer says that there are variants; each is made once more.
    expect(calls).toBe(4);
    await end(second.server);
    await client.close();
  });

  test('Vary: * is never cached', async () => {
    count('/a', {}, { Vary: '*' });
    expect(await texts([['/a'], ['/a']])).toEqual([1, 2]);
  });

  test('with cacheByUser, the user; without one the request goes past the cache', async () => {
    count('/a', { cacheByUser: (request) => request.get('x-user') }, {
      'Cache-Control': 'private, max-age=60',
    });
    const user = (id: string): [string, Record<string, string>] =>
      ['/a', { 'X-User': id, Authorization: `Bearer ${id}` }];
    expect(await texts([user('1'), user('2'), user('1'), user('2'), ['/a'], ['/a']]))
      .toEqual([1, 2, 1, 2, 3, 4]);
  });
});

describe('what is not cached', () => {
  const twice = async (path = '/a', headers: Record<string, string> = {}) => {
    await ask(url + path, { headers });
    const { text } = await ask(url + path, { headers });
    return JSON.parse(text).calls;
  };

  test.each([
    ['no-store', { 'Cache-Control': 'no-store' }],
    ['private', { 'Cache-Control': 'private, max-age=60' }],
    ['no-cache', { 'Cache-Control': 'no-cache' }],
    ['max-age=0', { 'Cache-Control': 'max-age=0' }],
    ['s-maxage=0 over max-age', { 'Cache-Control': 'max-age=60, s-maxage=0' }],
    ['Expires in the past', { Expires: 'Thu, 01 Jan 1970 00:00:00 GMT' }],
    ['Pragma: no-cache', { Pragma: 'no-cache' }],
    ['Set-Cookie', { 'Set-Cookie': 'a=1', 'Cache-Control': 'public, max-age=60' }],
  ])('an answer with %s', async (_, headers) => {
    count('/a', {}, headers);
    expect(await twice()).toBe(2);
  });

  test('an answer to a request with Authorization, unless it is public', async () => {
    count('/a');
    count('/public', {}, { 'Cache-Control': 'public, max-age=60' });
    expect(await twice('/a', { Authorization: 'Bearer x' })).toBe(2);
    calls = 0;
    expect(await twice('/public', { Authorization: 'Bearer x' })).toBe(1);
    // Requests without credentials are not affected by those that have some.
    calls = 0;
    expect(await twice('/a')).toBe(1);
  });

  test('other statuses, unless they are named', async () => {
    app.get('/none', cacheOf(), (_request, response) => {
      calls += 1;
      response.status(404).json({ calls });
    });
    app.get('/named', cacheOf({ statuses: [200, 404] }), (_request, response) => {
      calls += 1;
      response.status(404).json({ calls });
    });
    expect(await twice('/none')).toBe(2);
    calls = 0;
    expect(await twice('/named')).toBe(1);
    expect((await ask(`${url}/named`)).status).toBe(404);
  });

  test('an error of the handler', async () => {
    app.get('/a', cacheOf(), () => {
      calls += 1;
      throw new Error('no');
    });
    app.use((_error: unknown, _request: any, response: any, _next: unknown) => {
      response.status(500).json({ calls });
    });
    expect((await ask(`${url}/a`)).status).toBe(500);
    expect((await ask(`${url}/a`)).status).toBe(500);
    expect(calls).toBe(2);
  });

  test('without a ttl, an answer that does not say how long it is fresh', async () => {
    count('/a', { ttl: undefined });
    expect(await twice()).toBe(2);
    count('/b', { ttl: undefined }, { 'Cache-Control': 'max-age=60' });
    calls = 0;
    expect(await twice('/b')).toBe(1);
  });

  test('a request that is skipped', async () => {
    count('/a', { skip: (request) => request.get('x-admin') === '1' });
    expect(await twice('/a', { 'X-Admin': '1' })).toBe(2);
    expect((await ask(`${url}/a`, { headers: { 'X-Admin': '1' } })).headers['x-cache'])
      .toBe('BYPASS');
    calls = 0;
    expect(await twice()).toBe(1);
  });

  test('a request for a range', async () => {
    count('/a');
    await ask(`${url}/a`, { headers: { Range: 'bytes=0-1' } });
    expect(await entries().countKeys()).toBe(0);
  });

  test('the Cache-Control of a request changes nothing', async () => {
    count('/a');
    expect(await twice('/a', { 'Cache-Control': 'no-cache', Pragma: 'no-cache' })).toBe(1);
    expect(await twice('/a', { 'Cache-Control': 'no-store' })).toBe(1);
  });

  test('with obeyRequests it does', async () => {
    count('/a', { obeyRequests: true });
    expect(await twice()).toBe(1);
    const fresher = await ask(`${url}/a`, { headers: { 'Cache-Control': 'no-cache' } });
    expect(JSON.parse(fresher.text).calls).toBe(2);
    await vi.waitFor(async () => {
      expect(JSON.parse((await ask(`${url}/a`)).text).calls).toBe(2);
    });
    const past = await ask(`${url}/a`, { headers: { 'Cache-Control': 'no-store' } });
    expect(past.headers['x-cache']).toBe('BYPASS');
  });
});

describe('requests that do not wait for each other', () => {
  test('after an answer that must not be cached', async () => {
    const gates = [deferred(), deferred(), deferred()];
    app.get('/a', cacheOf(), async (_request, response) => {
      const mine = calls;
      calls += 1;
      if (mine > 0) await gates[mine]!.promise;
      response.set('Cache-Control', 'no-store').json({ mine });
    });
    await ask(`${url}/a`);
    await until(async () => (await entries().countKeys()) === 1, 'the mark is stored');
    const one = ask(`${url}/a`);
    await until(() => calls === 2, 'the second runs');
    const two = ask(`${url}/a`);
    await until(() => calls === 3, 'the third runs at the same time');
    for (const gate of gates) gate.resolve();
    expect((await one).headers['x-cache']).toBe('BYPASS');
    expect((await two).status).toBe(200);
  });

  test('with an answer that is too large, which is sent as it is made', async () => {
    const gate = deferred();
    const block = 'x'.repeat(100_000);
    app.get('/a', cacheOf({ maxBody: 150_000 }), async (_request, response) => {
      calls += 1;
      response.write(block);
      response.write(block);
      await gate.promise;
      response.end('end');
    });
    const one = ask(`${url}/a`);
    const two = ask(`${url}/a`);
    // The second does not wait for the end of the first.
    await until(() => calls === 2, 'both handlers run');
    gate.resolve();
    for (const answer of [await one, await two]) {
      const digest = createHash('sha1').update(answer.text).digest('hex');
      expect(digest).toBe(createHash('sha1').update(`${block}${block}end`).digest('hex'));
    }
    const stored = await entries().getMany(['/a']);
    expect([...stored.values()].every(({ found }) => !found)).toBe(true);
  });

  test('with a stream of events', async () => {
    const gate = deferred();
    app.get('/a', cacheOf(), async (_request, response) => {
      calls += 1;
      response.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
      response.flushHeaders();
      response.write('data: 1\n\n');
      await gate.promise;
      response.end();
    });
    const all = [ask(`${url}/a`), ask(`${url}/a`)];
    await until(() => calls === 2, 'both handlers run');
    gate.resolve();
    expect((await Promise.all(all)).map(({ text }) => text)).toEqual(Array(2).fill('data: 1\n\n'));
  });
});

describe('POST', () => {
  const post = (path: string, body: unknown, type = 'application/json') =>
    ask(url + path, {
      method: 'POST',
      headers: { 'Content-Type': type },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });

  test('by the body, in any order of its names', async () => {
    app.use(express.json());
    count('/a', { post: true });
    const made = async (body: unknown) => JSON.parse((await post('/a', body)).text).calls;
    expect(await made({ x: 1, y: [1, { a: 1, b: 2 }] })).toBe(1);
    expect(await made({ y: [1, { b: 2, a: 1 }], x: 1 })).toBe(1);
    expect(await made({ x: 2 })).toBe(2);
    expect(await made([])).toBe(3);
    // GET of the same path is another answer.
    expect(JSON.parse((await ask(`${url}/a`)).text).calls).toBe(4);
  });

  test('by what a function returns', async () => {
    app.use(express.json());
    count('/a', { post: (request) => request.body.address });
    const made = async (body: unknown) => JSON.parse((await post('/a', body)).text).calls;
    expect(await made({ address: 'x', time: 1 })).toBe(1);
    expect(await made({ address: 'x', time: 2 })).toBe(1);
    expect(await made({ address: 'y' })).toBe(2);
  });

  test('is not cached unless asked, and makes the answers of the path invalid', async () => {
    count('/a');
    const get = async () => JSON.parse((await ask(`${url}/a?x=1`)).text).calls;
    expect(await get()).toBe(1);
    await until(async () => (await entries().countKeys()) === 1, 'the answer is stored');
    expect(await get()).toBe(1);
    await post('/a', {});
    await until(async () => (await entries().countKeys()) === 0, 'the answer is invalid');
    expect(await get()).toBe(3);
  });

  test('a body that was not parsed goes past the cache, with an error', async () => {
    count('/a', { post: true });
    expect((await post('/a', { x: 1 })).headers['x-cache']).toBe('BYPASS');
    expect(errors).toHaveLength(1);
    expect(String(errors[0])).toMatch(/post: .*body parser/);
    errors = [];
  });
});

describe('invalidation', () => {
  test('by tags of the rules and of the handler', async () => {
    const cache = cacheOf({ tags: (request) => [`user:${request.params.id}`] });
    app.get('/users/:id', cache, (_request, response) => {
      calls += 1;
      addCacheTags(response, 'users', 'all');
      response.json({ calls });
    });
    const made = async (id: number) => JSON.parse((await ask(`${url}/users/${id}`)).text).calls;
    expect([await made(1), await made(2), await made(1), await made(2)]).toEqual([1, 2, 1, 2]);
    await cache.invalidateTags('user:1');
    expect([await made(1), await made(2)]).toEqual([3, 2]);
    await cache.invalidateTags('users');
    expect([await made(1), await made(2)]).toEqual([4, 5]);
  });

  test('by path, with all queries', async () => {
    const cache = count('/*any');
    const made = async (path: string) => JSON.parse((await ask(url + path)).text).calls;
    const long = `/${'long'.repeat(100)}`;
    expect([await made('/a?x=1'), await made('/a?x=2'), await made('/b'), await made(long)])
      .toEqual([1, 2, 3, 4]);
    await cache.purge('/a');
    await cache.purge(long);
    expect([await made('/a?x=1'), await made('/b'), await made(long)]).toEqual([5, 3, 6]);
  });

  test('an answer that was being made at the time is not stored', async () => {
    const gate = deferred();
    const cache = cacheOf({ tags: ['t'] });
    app.get('/a', cache, async (_request, response) => {
      calls += 1;
      if (calls === 1) await gate.promise;
      response.json({ calls });
    });
    const first = ask(`${url}/a`);
    await until(() => calls === 1, 'the handler runs');
    await cache.invalidateTags('t');
    gate.resolve();
    expect((await first).text).toBe('{"calls":1}');
    const refused = () => used.client.counters()[namespace]?.fills_refused === 1;
    await until(refused, 'the answer is refused');
    expect((await ask(`${url}/a`)).text).toBe('{"calls":2}');
  });
});

describe('rules', () => {
  test('a ttl per request and answer', async () => {
    count('/a', { ttl: (request) => (request.query.historical === 'true' ? '1d' : '5m') });
    await ask(`${url}/a`);
    await ask(`${url}/a?historical=true`);
    const remaining = async (query: string) => {
      let found = 0;
      await vi.waitFor(async () => {
        const { headers } = await ask(`${url}/a${query}`);
        expect(headers['x-cache']).toBe('HIT');
        found = Number(headers['x-cache-ttl-remaining']);
      });
      return found;
    };
    expect(await remaining('')).toBeLessThanOrEqual(300);
    expect(await remaining('?historical=true')).toBeGreaterThan(86_000);
  });

  test('an answer that says how long it is fresh is right', async () => {
    count('/a', { ttl: '1h' }, { 'Cache-Control': 'max-age=60' });
    await ask(`${url}/a`);
    await vi.waitFor(async () => {
      const { headers } = await ask(`${url}/a`);
      expect(Number(headers['x-cache-ttl-remaining'])).toBeLessThanOrEqual(60);
      expect(headers['cache-control']).toBe('max-age=60');
    });
  });

  test('rules of their own for some routes, and the key of an answer', async () => {
    const cache = cacheOf({ debug: true });
    app.get('/a', cache.with({ varyQuery: ['x'] }), (_request, response) => {
      response.json({ calls: (calls += 1) });
    });
    const { headers } = await ask(`${url}/a?y=1&x=2`, { headers: { Host: 'h' } });
    expect(headers['x-cache-key']).toBe('/a query=x%3D2&origin=http%3A%2F%2Fh');
    await until(async () => (await entries().countKeys()) === 1, 'the answer is stored');
    const hit = await ask(`${url}/a?y=2&x=2`, { headers: { Host: 'h' } });
    expect(hit.headers).toMatchObject({
      'x-cache': 'HIT', 'x-cache-key': '/a query=x%3D2&origin=http%3A%2F%2Fh',
    });
  });
});

describe('clients that go away', () => {
  test('one that waits leaves the answer to the others', async () => {
    const gate = deferred();
    app.get('/a', cacheOf(), async (_request, response) => {
      calls += 1;
      await gate.promise;
      response.json({ calls });
    });
    const gone = new AbortController();
    const first = fetch(`${url}/a`, { signal: gone.signal }).catch((error) => error.name);
    await until(() => calls === 1, 'the handler runs');
    const second = ask(`${url}/a`);
    gone.abort();
    expect(await first).toBe('AbortError');
    gate.resolve();
    // The handler went on, and its answer is that of the request that waited.
    expect(await second).toMatchObject({ status: 200, text: '{"calls":1}' });
    expect(calls).toBe(1);
  });

  test('a stream that is cut is not stored, and another request makes it again', async () => {
    const cut = deferred();
    app.get('/a', cacheOf(), (_request, response) => {
      calls += 1;
      response.write('half');
      if (calls === 1) cut.promise.then(() => response.destroy());
      else response.end(' whole');
    });
    const first = ask(`${url}/a`).catch((error) => error.code);
    await until(() => calls === 1, 'the handler runs');
    const second = ask(`${url}/a`);
    cut.resolve();
    expect(await first).toBe('ECONNRESET');
    expect((await second).text).toBe('half whole');
  });
});

describe('at an outage', () => {
  test('the handler makes every answer, and the cache works again after it', async () => {
    const own = await LarderServer.start();
    const port = Number(own.target.split(':').at(-1));
    const client = new Client({ target: own.target, preset: 'local', logger: null });
    count('/a', { client });
    await ask(`${url}/a`);
    await until(async () => (await ask(`${url}/a`)).headers['x-cache'] === 'HIT', 'a hit');
    await own.stop();
    calls = 0;
    for (let index = 1; index <= 3; index += 1) {
      const answer = await ask(`${url}/a`);
      expect(answer).toMatchObject({ status: 200 });
      expect(JSON.parse(answer.text).calls).toBe(index);
    }
    expect((await ask(`${url}/a`, { method: 'HEAD' })).status).toBe(200);
    const again = await LarderServer.start({ port });
    await until(async () => (await ask(`${url}/a`)).headers['x-cache'] === 'HIT', 'a hit');
    await client.close();
    await again.stop();
  });

  test('purge and invalidateTags reject', async () => {
    const client = new Client({ target: '127.0.0.1:1', preset: 'local', logger: null });
    const cache = cacheOf({ client });
    await expect(cache.purge('/a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(cache.invalidateTags('t')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await client.close();
  });

  test('a mistake, such as too many tags, is told and harms no request', async () => {
    count('/a', { tags: Array.from({ length: 40 }, (_, index) => `t${index}`) });
    for (let index = 1; index <= 2; index += 1) {
      expect(JSON.parse((await ask(`${url}/a`)).text).calls).toBe(index);
    }
    await until(() => errors.length > 0, 'the error is told');
    errors = [];
  });
});
