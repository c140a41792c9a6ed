// Rules of a program that are wrong must neither break an answer nor give it to another user.
import express from 'express';
// @ts-expect-error types of Express 5 are installed
import express4 from 'express4';
import { describe, expect, test } from 'vitest';
import { freshFor } from '../../src/http/rules.js';
import { Client } from '../../src/index.js';
import { FakeLarder } from '../../src/testing.js';
import { ask, end, serve, useExpress } from './support.js';

const site = useExpress();

/** The errors of the cache so far; the test expects them. */
const reported = () => site.errors.splice(0).map(String);
const made = async (path: string, headers: Record<string, string> = {}) => {
  const { status, text } = await ask(site.url + path, { headers });
  return status === 200 ? JSON.parse(text).calls : status;
};

describe('users', () => {
  test('a promise of an id is awaited', async () => {
    site.count('/a', { cacheByUser: async (request) => request.get('x-user') });
    expect(await made('/a', { 'X-User': 'ada' })).toBe(1);
    expect(await made('/a', { 'X-User': 'bob' })).toBe(2);
    expect(await made('/a', { 'X-User': 'ada' })).toBe(1);
    // A request without a user goes past the cache.
    expect([await made('/a'), await made('/a')]).toEqual([3, 4]);
  });

  test.each([
    ['an object', (user: string) => ({ id: user })],
    ['a list', (user: string) => [user]],
    ['NaN', () => Number.NaN],
    ['true', () => true],
    ['a function', (user: string) => () => user],
  ])('%s is no id: the request goes past the cache', async (_, idOf) => {
    site.count('/a', { cacheByUser: (request) => idOf(request.get('x-user')!) as never });
    expect(await made('/a', { 'X-User': 'ada' })).toBe(1);
    expect(await made('/a', { 'X-User': 'bob' })).toBe(2);
    expect(await site.entries().countKeys()).toBe(0);
    expect(reported()[0]).toContain('cacheByUser: expected text or a number');
  });

  test('0 and a bigint are ids', async () => {
    site.count('/a', { cacheByUser: () => 0 });
    site.count('/b', { cacheByUser: () => 7n });
    expect([await made('/a'), await made('/a'), await made('/b'), await made('/b')])
      .toEqual([1, 1, 2, 2]);
  });

  test('answers to requests with credentials are stored only if they are public', async () => {
    const credentials = { Authorization: 'Bearer one' };
    site.count('/a');
    expect([await made('/a', credentials), await made('/a', credentials)]).toEqual([1, 2]);
    site.calls = 0;
    site.count('/b', {}, { 'Cache-Control': 'public, max-age=60' });
    expect([await made('/b', credentials), await made('/b', credentials)]).toEqual([1, 1]);
    // Those without credentials have another.
    expect(await made('/b')).toBe(2);
  });
});

describe('bodies that differ never share an answer', () => {
  const post = (path: string, body: unknown) => ask(site.url + path, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  });

  test('what the answer depends on may be a promise', async () => {
    site.app.use(express.json());
    site.count('/a', { post: async (request) => request.body.query });
    const calls = async (query: string) => JSON.parse((await post('/a', { query })).text).calls;
    expect([await calls('x'), await calls('y'), await calls('x')]).toEqual([1, 2, 1]);
  });

  test.each([
    ['a Map', (query: string) => new Map([['query', query]])],
    ['a Set', (query: string) => ({ all: new Set([query]) })],
    ['an object of a class', (query: string) => new (class { readonly text = () => query; })()],
    ['NaN', () => ({ n: Number.NaN })],
  ])('%s goes past the cache', async (_, keyOf) => {
    site.app.use(express.json());
    site.count('/a', { post: (request) => keyOf(request.body.query) });
    for (const [index, query] of ['x', 'y'].entries()) {
      const { headers, text } = await post('/a', { query });
      expect([headers['x-cache'], JSON.parse(text).calls]).toEqual(['BYPASS', index + 1]);
    }
    expect(reported().every((error) => error.includes('post: '))).toBe(true);
  });
});

describe('a parser that leaves an empty object for a body that it has not read', () => {
  const start = async (parser: unknown) => {
    const app = express4();
    app.use(parser as never);
    app.post('/a', site.cacheOf({ post: true }), (_request: any, response: any) => {
      response.json({ calls: (site.calls += 1) });
    });
    const { url, server } = await serve(app);
    const post = async (type: string, body: string) => {
      const answer = await ask(`${url}/a`, {
        method: 'POST', headers: { 'content-type': type }, body,
      });
      return JSON.parse(answer.text).calls;
    };
    return { post, server, url };
  };

  test.each([
    ['text', () => express4.json(), 'text/plain'],
    ['JSON behind a parser of forms', () => express4.urlencoded({ extended: false }),
      'application/json'],
  ])('%s goes past the cache', async (_, parser, type) => {
    const { post, server } = await start(parser());
    expect([await post(type, '{"x":1}'), await post(type, '{"x":2}')]).toEqual([1, 2]);
    expect(await site.entries().countKeys()).toBe(0);
    expect(reported().every((error) => error.includes('body parser'))).toBe(true);
    await end(server);
  });

  test('an empty object that was read, and a request without a body, are cached', async () => {
    const { post, server, url } = await start(express4.json());
    const type = 'application/json; charset=utf-8';
    expect([await post(type, '{}'), await post(type, '{ }')]).toEqual([1, 1]);
    await site.entries().invalidateNamespace();
    const headers = { 'content-length': '0' };
    const bare = async () =>
      JSON.parse((await ask(`${url}/a`, { method: 'POST', headers })).text).calls;
    expect([await bare(), await bare()]).toEqual([2, 2]);
    await end(server);
  });
});

describe('a rule that throws does not break the answer', () => {
  const fail = () => { throw new Error('of the rule'); };

  test.each([
    ['ttl', { ttl: fail }], ['a ttl that is none', { ttl: () => 'soon' }], ['tags', { tags: fail }],
    ['skip', { skip: fail }], ['cacheByUser', { cacheByUser: fail }],
    ['tags that the server does not take', { tags: ['x'.repeat(200)] }],
    ['a promise of tags', { tags: (async () => ['t']) as never }],
    ['a promise of a ttl', { ttl: (async () => '1m') as never }],
  ])('%s', async (_, rules) => {
    site.count('/a', rules);
    site.app.get('/stream', site.cacheOf(rules), (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' });
      response.write('one ');
      response.end('two');
    });
    expect([await made('/a'), await made('/a')]).toEqual([1, 2]);
    expect((await ask(`${site.url}/stream`)).text).toBe('one two');
    const [stored] = await Promise.all([site.entries().countKeys()]);
    expect(stored).toBeLessThanOrEqual(2);
    expect(reported().length).toBeGreaterThan(0);
  });

  test('an AbortError while the client is there', async () => {
    site.count('/a', { skip: async () => AbortSignal.abort().throwIfAborted() as never });
    expect(await made('/a')).toBe(1);
    expect(reported()[0]).toContain('AbortError');
  });

  test('onError itself', async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on('warning', listen);
    site.count('/a', { skip: fail, onError: () => { throw new Error('of onError'); } });
    expect(await made('/a')).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', listen);
    expect(warnings.map(({ message }) => message)).toEqual(['of onError']);
  });

  test('a client that throws at outages', async () => {
    const fake = new FakeLarder();
    fake.fail();
    const client = new Client({ transport: fake.transport, onError: 'raise', logger: null });
    site.count('/a', { client });
    expect([await made('/a'), await made('/a')]).toEqual([1, 2]);
    await client.close();
  });
});

test('the lifetime of Expires is counted from now, with and without Date', () => {
  const at = (ms: number) => new Date(Date.now() + ms).toUTCString();
  const rules = { shared: true, statuses: [200] };
  const of = (headers: Record<string, string>) =>
    freshFor({}, { status: 200, headers }, rules, undefined);
  for (const date of [{}, { date: at(0) }] as Record<string, string>[]) {
    const lifetime = of({ expires: at(60_000), ...date })!;
    expect(lifetime).toBeGreaterThan(55_000);
    expect(lifetime).toBeLessThanOrEqual(61_000);
    expect(of({ expires: at(-60_000), ...date })).toBeLessThanOrEqual(0);
  }
  expect(of({ expires: at(60_000), age: '50' })).toBeLessThanOrEqual(11_000);
  expect(of({ expires: at(60_000), 'cache-control': 'max-age=5' })).toBe(5000);
});

describe('headers that middleware before the cache adds while the answer is sent', () => {
  /** As on-headers does it, which express-session and cookie-session use. */
  const adding = (name: string, value: string) => {
    site.app.use((_request, response, next) => {
      const { writeHead } = response;
      response.writeHead = ((...args: unknown[]) => {
        response.setHeader(name, value);
        return Reflect.apply(writeHead, response, args);
      }) as never;
      next();
    });
  };

  test.each([
    ['Set-Cookie', 'id=1'], ['Cache-Control', 'private'], ['Vary', '*'],
  ])('%s: %s is not cached', async (name, value) => {
    adding(name, value);
    site.count('/a');
    expect([await made('/a'), await made('/a')]).toEqual([1, 2]);
  });

  test('a head that is sent after the end of the handler', async () => {
    adding('Set-Cookie', 'id=1');
    // A session is saved before the answer ends.
    site.app.use((_request, response, next) => {
      const { end } = response;
      response.end = ((...args: unknown[]) => {
        setImmediate(() => Reflect.apply(end, response, args));
        return response;
      }) as never;
      next();
    });
    site.app.get('/a', site.cacheOf(), (_request, response) => {
      site.calls += 1;
      response.end();
    });
    for (let index = 1; index <= 2; index += 1) {
      expect((await ask(`${site.url}/a`)).headers['set-cookie']).toBe('id=1');
      expect(site.calls).toBe(index);
    }
  });

  test('others do not matter', async () => {
    adding('X-Request-Id', '1');
    site.count('/a');
    expect(await made('/a')).toBe(1);
    await site.stored();
    expect(await made('/a')).toBe(1);
  });
});

test('queries that are not UTF-8 and differ are different entries', async () => {
  site.count('/a');
  expect([await made('/a?q=%E4'), await made('/a?q=%F6'), await made('/a?q=%E4')])
    .toEqual([1, 2, 1]);
});
