import { createHash } from 'node:crypto';
import express from 'express';
import { describe, expect, test, vi } from 'vitest';
import { deferred, until } from '../support.js';
import { ask, useExpress } from './support.js';

/** A busy machine takes its time. */
const LONG = { timeout: 30_000 };

const site = useExpress();

describe('what is not cached', () => {
  const twice = async (path = '/a', headers: Record<string, string> = {}) => {
    await ask(site.url + path, { headers });
    const { text } = await ask(site.url + path, { headers });
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
    site.count('/a', {}, headers);
    expect(await twice()).toBe(2);
  });

  test('an answer to a request with Authorization, unless it is public', async () => {
    site.count('/a');
    site.count('/public', {}, { 'Cache-Control': 'public, max-age=60' });
    expect(await twice('/a', { Authorization: 'Bearer x' })).toBe(2);
    site.calls = 0;
    expect(await twice('/public', { Authorization: 'Bearer x' })).toBe(1);
    // Requests without credentials are not affected by those that have some.
    site.calls = 0;
    expect(await twice('/a')).toBe(1);
  });

  test('other statuses, unless they are named', async () => {
    site.app.get('/none', site.cacheOf(), (_request, response) => {
      site.calls += 1;
      response.status(404).json({ calls: site.calls });
    });
    site.app.get('/named', site.cacheOf({ statuses: [200, 404] }), (_request, response) => {
      site.calls += 1;
      response.status(404).json({ calls: site.calls });
    });
    expect(await twice('/none')).toBe(2);
    site.calls = 0;
    expect(await twice('/named')).toBe(1);
    expect((await ask(`${site.url}/named`)).status).toBe(404);
  });

  test('an error of the handler', async () => {
    site.app.get('/a', site.cacheOf(), () => {
      site.calls += 1;
      throw new Error('no');
    });
    site.app.use((_error: unknown, _request: any, response: any, _next: unknown) => {
      response.status(500).json({ calls: site.calls });
    });
    expect((await ask(`${site.url}/a`)).status).toBe(500);
    expect((await ask(`${site.url}/a`)).status).toBe(500);
    expect(site.calls).toBe(2);
  });

  test('without a ttl, an answer that does not say how long it is fresh', async () => {
    site.count('/a', { ttl: undefined });
    expect(await twice()).toBe(2);
    site.count('/b', { ttl: undefined }, { 'Cache-Control': 'max-age=60' });
    site.calls = 0;
    expect(await twice('/b')).toBe(1);
  });

  test('a request that is skipped', async () => {
    site.count('/a', { skip: (request) => request.get('x-admin') === '1' });
    expect(await twice('/a', { 'X-Admin': '1' })).toBe(2);
    expect((await ask(`${site.url}/a`, { headers: { 'X-Admin': '1' } })).headers['x-cache'])
      .toBe('BYPASS');
    site.calls = 0;
    expect(await twice()).toBe(1);
  });

  test('a request for a range', async () => {
    site.count('/a');
    await ask(`${site.url}/a`, { headers: { Range: 'bytes=0-1' } });
    expect(await site.entries().countKeys()).toBe(0);
  });

  test('the Cache-Control of a request changes nothing', async () => {
    site.count('/a');
    expect(await twice('/a', { 'Cache-Control': 'no-cache', Pragma: 'no-cache' })).toBe(1);
    expect(await twice('/a', { 'Cache-Control': 'no-store' })).toBe(1);
  });

  test('with obeyRequests it does', async () => {
    site.count('/a', { obeyRequests: true });
    expect(await twice()).toBe(1);
    const fresher = await ask(`${site.url}/a`, { headers: { 'Cache-Control': 'no-cache' } });
    expect(JSON.parse(fresher.text).calls).toBe(2);
    await vi.waitFor(async () => {
      expect(JSON.parse((await ask(`${site.url}/a`)).text).calls).toBe(2);
    }, LONG);
    const past = await ask(`${site.url}/a`, { headers: { 'Cache-Control': 'no-store' } });
    expect(past.headers['x-cache']).toBe('BYPASS');
  });
});

describe('requests that do not wait for each other', () => {
  test('after an answer that must not be cached', async () => {
    const gates = [deferred(), deferred(), deferred()];
    site.app.get('/a', site.cacheOf(), async (_request, response) => {
      const mine = site.calls;
      site.calls += 1;
      if (mine > 0) await gates[mine]!.promise;
      response.set('Cache-Control', 'no-store').json({ mine });
    });
    await ask(`${site.url}/a`);
    await site.stored();
    const one = ask(`${site.url}/a`);
    await until(() => site.calls === 2, 'the second runs');
    const two = ask(`${site.url}/a`);
    await until(() => site.calls === 3, 'the third runs at the same time');
    for (const gate of gates) gate.resolve();
    expect((await one).headers['x-cache']).toBe('BYPASS');
    expect((await two).status).toBe(200);
  });

  test('with a stream of events', async () => {
    site.app.get('/a', site.cacheOf(), (_request, response) => {
      site.calls += 1;
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      response.write('data: 1\n\n');
    });
    const gone = new AbortController();
    const open = () => fetch(`${site.url}/a`, { signal: gone.signal });
    await open();
    const started = performance.now();
    expect((await open()).headers.get('content-type')).toBe('text/event-stream');
    expect(performance.now() - started).toBeLessThan(4000);
    expect(site.calls).toBe(2);
    gone.abort();
  });

  test('with an answer that does not end, after a while', { timeout: 20_000 }, async () => {
    const gate = deferred();
    site.app.get('/a', site.cacheOf(), async (_request, response) => {
      site.calls += 1;
      response.write(`${site.calls}`);
      if (site.calls === 1) await gate.promise;
      response.end();
    });
    const one = ask(`${site.url}/a`);
    await until(() => site.calls === 1, 'the first runs');
    expect((await ask(`${site.url}/a`)).text).toBe('2');
    gate.resolve();
    expect((await one).text).toBe('1');
  });

  test('with an answer that is too large, which is sent as it is made', async () => {
    const gate = deferred();
    const block = 'x'.repeat(100_000);
    site.app.get('/a', site.cacheOf({ maxBody: 150_000 }), async (_request, response) => {
      site.calls += 1;
      response.write(block);
      response.write(block);
      await gate.promise;
      response.end('end');
    });
    const one = ask(`${site.url}/a`);
    const two = ask(`${site.url}/a`);
    // The second does not wait for the end of the first.
    await until(() => site.calls === 2, 'both handlers run');
    gate.resolve();
    for (const answer of [await one, await two]) {
      const digest = createHash('sha1').update(answer.text).digest('hex');
      expect(digest).toBe(createHash('sha1').update(`${block}${block}end`).digest('hex'));
    }
    const stored = await site.entries().getMany(['/a']);
    expect([...stored.values()].every(({ found }) => !found)).toBe(true);
  });

  test('with a stream of events', async () => {
    const gate = deferred();
    site.app.get('/a', site.cacheOf(), async (_request, response) => {
      site.calls += 1;
      response.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
      response.flushHeaders();
      response.write('data: 1\n\n');
      await gate.promise;
      response.end();
    });
    const all = [ask(`${site.url}/a`), ask(`${site.url}/a`)];
    await until(() => site.calls === 2, 'both handlers run');
    gate.resolve();
    expect((await Promise.all(all)).map(({ text }) => text)).toEqual(Array(2).fill('data: 1\n\n'));
  });
});

describe('POST', () => {
  const post = (path: string, body: unknown, type = 'application/json') =>
    ask(site.url + path, {
      method: 'POST',
      headers: { 'Content-Type': type },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });

  test('by the body, in any order of its names', async () => {
    site.app.use(express.json());
    site.count('/a', { post: true });
    const made = async (body: unknown) => JSON.parse((await post('/a', body)).text).calls;
    expect(await made({ x: 1, y: [1, { a: 1, b: 2 }] })).toBe(1);
    expect(await made({ y: [1, { b: 2, a: 1 }], x: 1 })).toBe(1);
    expect(await made({ x: 2 })).toBe(2);
    expect(await made([])).toBe(3);
    // GET of the same path is another answer.
    expect(JSON.parse((await ask(`${site.url}/a`)).text).calls).toBe(4);
  });

  test('by what a function returns', async () => {
    site.app.use(express.json());
    site.count('/a', { post: (request) => request.body.address });
    const made = async (body: unknown) => JSON.parse((await post('/a', body)).text).calls;
    expect(await made({ address: 'x', time: 1 })).toBe(1);
    expect(await made({ address: 'x', time: 2 })).toBe(1);
    expect(await made({ address: 'y' })).toBe(2);
  });

  test('is not cached unless asked, and makes the answers of the path invalid', async () => {
    site.count('/a');
    const get = async () => JSON.parse((await ask(`${site.url}/a?x=1`)).text).calls;
    expect(await get()).toBe(1);
    await site.stored();
    expect(await get()).toBe(1);
    await post('/a', {});
    await site.stored(0);
    expect(await get()).toBe(3);
  });

  test('a body that was not parsed goes past the cache, with an error', async () => {
    site.count('/a', { post: true });
    expect((await post('/a', { x: 1 })).headers['x-cache']).toBe('BYPASS');
    expect(site.errors).toHaveLength(1);
    expect(String(site.errors[0])).toMatch(/post: .*body parser/);
    site.errors = [];
  });
});

describe('rules', () => {
  test('a ttl per request and answer', async () => {
    site.count('/a', { ttl: (request) => (request.query.historical === 'true' ? '1d' : '5m') });
    await ask(`${site.url}/a`);
    await ask(`${site.url}/a?historical=true`);
    const remaining = async (query: string) => {
      let found = 0;
      await vi.waitFor(async () => {
        const { headers } = await ask(`${site.url}/a${query}`);
        expect(headers['x-cache']).toBe('HIT');
        found = Number(headers['x-cache-ttl-remaining']);
      }, LONG);
      return found;
    };
    expect(await remaining('')).toBeLessThanOrEqual(300);
    expect(await remaining('?historical=true')).toBeGreaterThan(86_000);
  });

  test('an answer that says how long it is fresh is right', async () => {
    site.count('/a', { ttl: '1h' }, { 'Cache-Control': 'max-age=60' });
    await ask(`${site.url}/a`);
    await vi.waitFor(async () => {
      const { headers } = await ask(`${site.url}/a`);
      expect(Number(headers['x-cache-ttl-remaining'])).toBeLessThanOrEqual(60);
      expect(headers['cache-control']).toBe('max-age=60');
    }, LONG);
  });

  test('rules of their own for some routes, and the key of an answer', async () => {
    const cache = site.cacheOf({ debug: true });
    site.app.get('/a', cache.with({ varyQuery: ['x'] }), (_request, response) => {
      response.json({ calls: (site.calls += 1) });
    });
    const { headers } = await ask(`${site.url}/a?y=1&x=2`, { headers: { Host: 'h' } });
    expect(headers['x-cache-key']).toBe('/a query=x%3D2&origin=http%3A%2F%2Fh');
    await site.stored();
    const hit = await ask(`${site.url}/a?y=2&x=2`, { headers: { Host: 'h' } });
    expect(hit.headers).toMatchObject({
      'x-cache': 'HIT', 'x-cache-key': '/a query=x%3D2&origin=http%3A%2F%2Fh',
    });
  });
});
