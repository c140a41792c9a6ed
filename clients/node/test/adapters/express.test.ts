import compression from 'compression';
import express, { type Response } from 'express';
// @ts-expect-error types of Express 5 are installed
import express4 from 'express4';
import { describe, expect, test, vi } from 'vitest';
import { Client } from '../../src/index.js';
import { deferred, until } from '../support.js';
import { ask, end, serve, useExpress } from './support.js';

/** A busy machine takes its time. */
const LONG = { timeout: 30_000 };

const site = useExpress();

describe('a cached route', () => {
  test('the second request is a hit', async () => {
    site.count('/a');
    const first = await ask(`${site.url}/a`);
    expect(first).toMatchObject({ status: 200, text: '{"calls":1,"url":"/a"}' });
    expect(first.headers).toMatchObject({ 'x-cache': 'MISS' });
    await site.stored();
    const second = await ask(`${site.url}/a`);
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
    expect(site.calls).toBe(1);
  });

  test('Age is that of the entry, by the clock of the store', async () => {
    site.count('/a', {}, { Age: '100', 'Cache-Control': 'max-age=1000' });
    await ask(`${site.url}/a`);
    await vi.waitFor(async () => {
      const { headers } = await ask(`${site.url}/a`);
      expect(headers['x-cache']).toBe('HIT');
      expect(Number(headers.age)).toBeGreaterThanOrEqual(101);
      expect(Number(headers['x-cache-ttl-remaining'])).toBeLessThanOrEqual(900);
    }, LONG);
  });

  test('50 requests at once make the answer once', async () => {
    const gate = deferred();
    site.app.get('/a', site.cacheOf(), async (_request, response) => {
      site.calls += 1;
      await gate.promise;
      response.json({ calls: site.calls });
    });
    const all = Array.from({ length: 50 }, () => ask(`${site.url}/a`));
    await until(() => site.calls === 1, 'the handler runs');
    gate.resolve();
    const answers = await Promise.all(all);
    expect(new Set(answers.map(({ text }) => text))).toEqual(new Set(['{"calls":1}']));
    expect(site.calls).toBe(1);
  });

  test('two processes share answers and computations', async () => {
    const client = new Client({ target: site.used.server.target, preset: 'local' });
    const gate = deferred();
    const handler = async (_request: unknown, response: any) => {
      site.calls += 1;
      await gate.promise;
      response.json({ calls: site.calls });
    };
    site.app.get('/one', site.cacheOf({ varyOrigin: false }), handler);
    const other = express();
    other.get('/one', site.cacheOf({ client, varyOrigin: false }), handler);
    const second = await serve(other);
    const all = [site.url, second.url, site.url, second.url].map((base) => ask(`${base}/one`));
    await until(() => site.calls > 0, 'a handler runs');
    gate.resolve();
    expect((await Promise.all(all)).map(({ text }) => text)).toEqual(Array(4).fill('{"calls":1}'));
    await end(second.server);
    await client.close();
  });

  test('an answer that is written in parts', async () => {
    site.app.get('/a', site.cacheOf(), (_request, response) => {
      site.calls += 1;
      response.writeHead(200, 'Fine', { 'Content-Type': 'text/plain', 'X-Own': 'yes' });
      response.write('snow ');
      response.write(Buffer.from('☃'));
      response.end('c2g=', 'base64');
    });
    const first = await ask(`${site.url}/a`);
    expect(first.text).toBe('snow ☃sh');
    await site.hit('/a');
    const second = await ask(`${site.url}/a`);
    expect(second).toMatchObject({ status: 200, text: 'snow ☃sh' });
    expect(second.headers).toMatchObject({ 'content-type': 'text/plain', 'x-own': 'yes' });
    expect(second.headers['transfer-encoding']).toBeUndefined();
    expect(site.calls).toBe(1);
  });

  test('an empty body, and a callback of end', async () => {
    const ended = vi.fn();
    site.app.get('/a', site.cacheOf(), (_request, response) => {
      response.status(200).end(ended);
    });
    expect((await ask(`${site.url}/a`)).text).toBe('');
    expect(ended).toHaveBeenCalledTimes(1);
    await site.hit('/a');
  });

  test('HEAD is answered from the entry of GET, and makes none', async () => {
    site.count('/a');
    const missed = await ask(`${site.url}/a`, { method: 'HEAD' });
    expect(missed.headers['x-cache']).toBe('MISS');
    expect(await site.entries().countKeys()).toBe(0);
    const full = await ask(`${site.url}/a`);
    await site.stored();
    const head = await ask(`${site.url}/a`, { method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, text: '' });
    expect(head.headers).toMatchObject({
      'x-cache': 'HIT', 'content-length': String(full.text.length), etag: full.headers.etag,
    });
  });
});

describe('304', () => {
  test('for the ETag of the answer, from the cache and at first', async () => {
    site.count('/a');
    const { etag } = (await ask(`${site.url}/a`)).headers;
    await site.hit('/a');
    const second = await ask(`${site.url}/a`, { headers: { 'If-None-Match': `"x", ${etag}` } });
    expect(second).toMatchObject({ status: 304, text: '' });
    expect(second.headers).toMatchObject({ etag, 'x-cache': 'HIT' });
    expect(second.headers['content-length']).toBeUndefined();
    const other = await ask(`${site.url}/a`, { headers: { 'If-None-Match': '"other"' } });
    expect(other.status).toBe(200);
    expect(site.calls).toBe(1);
  });

  test('a request with a condition fills the cache with the whole answer', async () => {
    const body = 'the same';
    site.app.get('/a', site.cacheOf(), (_request, response) => {
      site.calls += 1;
      response.type('text').send(body);
    });
    site.app.get('/plain', (_request, response) => void response.type('text').send(body));
    const { etag } = (await ask(`${site.url}/plain`)).headers;
    const first = await ask(`${site.url}/a`, { headers: { 'If-None-Match': etag! } });
    expect(first).toMatchObject({ status: 304, text: '' });
    await site.stored();
    const second = await ask(`${site.url}/a`);
    expect(second).toMatchObject({ status: 200, text: body });
    expect(second.headers['x-cache']).toBe('HIT');
    expect(site.calls).toBe(1);
  });

  test('for If-Modified-Since', async () => {
    const date = 'Sun, 01 Nov 2026 00:00:00 GMT';
    site.count('/a', {}, { 'Last-Modified': date });
    await ask(`${site.url}/a`);
    await site.hit('/a');
    const since = (value: string) =>
      ask(`${site.url}/a`, { headers: { 'If-Modified-Since': value } });
    expect((await since(date)).status).toBe(304);
    expect((await since('Sat, 31 Oct 2026 00:00:00 GMT')).status).toBe(200);
  });

  test('an answer that is written without an ETag gets one in the cache', async () => {
    site.app.get('/a', site.cacheOf(), (_request, response) => {
      response.write('part');
      response.end();
    });
    await ask(`${site.url}/a`);
    await site.hit('/a');
    expect((await ask(`${site.url}/a`)).headers.etag).toMatch(/^W\/"4-/);
  });
});

describe('what makes different answers', () => {
  const texts = async (paths: [string, Record<string, string>?][]) => {
    const found = [];
    for (const [path, headers] of paths) found.push((await ask(site.url + path, { headers })).text);
    return found.map((text) => JSON.parse(text).calls);
  };

  test('the path and the query, in any order of its names', async () => {
    site.count('/*any');
    expect(
      await texts([['/a?x=1&y=2'], ['/a?y=2&x=1'], ['/a?x=2&y=2'], ['/b?x=1&y=2'], ['/a?x=1&x=2']]),
    ).toEqual([1, 1, 2, 3, 4]);
  });

  test('with varyQuery, these parameters only', async () => {
    site.count('/a', { varyQuery: ['page'] });
    expect(await texts([['/a?page=1&utm=x'], ['/a?utm=y&page=1'], ['/a?page=2'], ['/a']]))
      .toEqual([1, 1, 2, 3]);
  });

  test('with an empty varyQuery, none', async () => {
    site.count('/a', { varyQuery: [] });
    expect(await texts([['/a?page=1'], ['/a?page=2'], ['/a']])).toEqual([1, 1, 1]);
  });

  test('the host, unless it is to make no difference', async () => {
    site.count('/a');
    site.app.get('/same', site.cacheOf({ varyOrigin: false }), (_request, response) => {
      site.calls += 1;
      response.json({ calls: site.calls });
    });
    expect(await texts([['/a', { Host: 'one' }], ['/a', { Host: 'two' }], ['/a', { Host: 'one' }]]))
      .toEqual([1, 2, 1]);
    expect(await texts([['/same', { Host: 'one' }], ['/same', { Host: 'two' }]])).toEqual([3, 3]);
  });

  test('with varyHeaders, these headers', async () => {
    site.count('/a', { varyHeaders: ['Accept-Language'] });
    const language = (value: string): [string, Record<string, string>] =>
      ['/a', { 'Accept-Language': value }];
    expect(await texts([language('de'), language('en'), language('de'), ['/a'], ['/a']]))
      .toEqual([1, 2, 1, 3, 3]);
  });

  test('the headers in Vary, also for a process that has not seen the answer', async () => {
    const client = new Client({ target: site.used.server.target, preset: 'local' });
    const handler = (request: any, response: any) => {
      site.calls += 1;
      response.set('Vary', 'Accept-Language, Accept');
      response.json({ calls: site.calls, language: request.headers['accept-language'] ?? null });
    };
    site.app.get('/a', site.cacheOf({ varyOrigin: false }), handler);
    const other = express();
    other.get('/a', site.cacheOf({ client, varyOrigin: false }), handler);
    const second = await serve(other);
    const in_ = async (base: string, language?: string) => {
      const headers: Record<string, string> = {};
      if (language !== undefined) headers['Accept-Language'] = language;
      const answer = await ask(`${base}/a`, { headers });
      const read = JSON.parse(answer.text);
      expect(read.language).toBe(language ?? null);
      return answer.headers['x-cache'];
    };
    await in_(site.url, 'de');
    for (const language of ['de', 'en', undefined]) {
      await until(async () => (await in_(site.url, language)) === 'HIT', `a hit for ${language}`);
      expect(await in_(second.url, language)).toBe('HIT');
    }
    // From the first answer on it is clear that there are variants; each is made once more.
    expect(site.calls).toBe(4);
    await end(second.server);
    await client.close();
  });

  test('Vary: * is never cached', async () => {
    site.count('/a', {}, { Vary: '*' });
    expect(await texts([['/a'], ['/a']])).toEqual([1, 2]);
  });

  test('with cacheByUser, the user; without one the request goes past the cache', async () => {
    site.count('/a', { cacheByUser: (request) => request.get('x-user') }, {
      'Cache-Control': 'private, max-age=60',
    });
    const user = (id: string): [string, Record<string, string>] =>
      ['/a', { 'X-User': id, Authorization: `Bearer ${id}` }];
    expect(await texts([user('1'), user('2'), user('1'), user('2'), ['/a'], ['/a']]))
      .toEqual([1, 2, 1, 2, 3, 4]);
  });
});

describe('other middleware', () => {
  const text = 'compressible '.repeat(500);
  const unzip = async (headers: Record<string, string>) => {
    const response = await fetch(`${site.url}/a`, { headers });
    expect(await response.text()).toBe(text);
    return [response.headers.get('x-cache'), response.headers.get('content-encoding')];
  };
  const handler = (_request: unknown, response: Response) => {
    site.calls += 1;
    response.type('text').send(text);
  };

  test('compression before the cache: plain answers are stored', async () => {
    site.app.use(compression());
    site.app.get('/a', site.cacheOf(), handler);
    expect(await unzip({ 'Accept-Encoding': 'gzip' })).toEqual(['MISS', 'gzip']);
    await site.stored();
    expect(await unzip({ 'Accept-Encoding': 'gzip' })).toEqual(['HIT', 'gzip']);
    expect(await unzip({ 'Accept-Encoding': 'identity' })).toEqual(['HIT', null]);
    expect(site.calls).toBe(1);
  });

  test('compression behind the cache: compressed answers are variants', async () => {
    site.app.get('/a', site.cacheOf(), compression(), handler);
    for (const encoding of ['gzip', 'identity', 'gzip']) {
      const headers = { 'Accept-Encoding': encoding };
      await until(async () => (await unzip(headers))[0] === 'HIT', 'a hit');
      expect(await unzip(headers)).toEqual(['HIT', encoding === 'gzip' ? 'gzip' : null]);
    }
    expect(site.calls).toBe(3);
  });

  test('Express 4', async () => {
    const app = express4();
    app.use(express4.json());
    app.get('/a', site.cacheOf(), handler);
    app.post('/a', site.cacheOf({ post: true }), (request: any, response: any) => {
      response.json({ sum: request.body.x + (site.calls += 1) });
    });
    const { url, server } = await serve(app);
    expect((await ask(`${url}/a`)).text).toBe(text);
    await site.stored();
    const hit = await ask(`${url}/a`);
    expect(hit.headers['x-cache']).toBe('HIT');
    expect((await ask(`${url}/a`, { headers: { 'If-None-Match': hit.headers.etag! } })).status)
      .toBe(304);
    const post = () => ask(`${url}/a`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"x":1}',
    });
    expect([(await post()).text, (await post()).text]).toEqual(['{"sum":3}', '{"sum":3}']);
    await end(server);
  });
});
