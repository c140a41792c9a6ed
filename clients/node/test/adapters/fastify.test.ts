import { Readable } from 'node:stream';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addCacheTags, larderCache, type LarderCacheOptions } from '../../src/fastify.js';
import { Client } from '../../src/index.js';
import { LarderServer } from '../../src/testing.js';
import { deferred, fresh, until, useServer } from '../support.js';
import { ask } from './support.js';

const used = useServer();
let app: FastifyInstance;
let url: string;
let namespace: string;
let errors: unknown[];
let calls: number;

beforeEach(() => {
  namespace = fresh('http');
  errors = [];
  calls = 0;
  app = Fastify();
});
afterEach(async () => {
  await app.close();
  expect(errors).toEqual([]);
});

async function start(options: LarderCacheOptions = {}, routes: () => void = () => {}) {
  await app.register(larderCache, {
    client: used.client, namespace, ttl: '1m', onError: (error) => errors.push(error), ...options,
  });
  routes();
  url = await app.listen({ port: 0, host: '127.0.0.1' });
}

const entries = () => used.client.namespace(namespace);
const stored = () => until(async () => (await entries().countKeys()) > 0, 'the answer is stored');
const count = () => ({ calls: (calls += 1) });
const made = async (path: string, options = {}) => {
  return JSON.parse((await ask(url + path, options)).text).calls;
};

describe('a cached route', () => {
  test('the second request is a hit, with an ETag and a 304', async () => {
    await start({}, () => app.get('/a', async () => count()));
    const first = await ask(`${url}/a`);
    expect(first).toMatchObject({ status: 200, text: '{"calls":1}' });
    expect(first.headers['x-cache']).toBe('MISS');
    await stored();
    const second = await ask(`${url}/a`);
    expect(second.text).toBe(first.text);
    expect(second.headers).toMatchObject({
      'x-cache': 'HIT', age: '0', 'content-type': first.headers['content-type'],
      'content-length': String(first.text.length),
    });
    const { etag } = second.headers;
    const third = await ask(`${url}/a`, { headers: { 'If-None-Match': etag! } });
    expect(third).toMatchObject({ status: 304, text: '' });
    expect(calls).toBe(1);
  });

  test('50 requests at once make the answer once', async () => {
    const gate = deferred();
    await start({}, () => app.get('/a', async () => {
      count();
      await gate.promise;
      return { calls };
    }));
    const all = Array.from({ length: 50 }, () => ask(`${url}/a`));
    await until(() => calls === 1, 'the handler runs');
    gate.resolve();
    expect(new Set((await Promise.all(all)).map(({ text }) => text))).toEqual(
      new Set(['{"calls":1}']),
    );
  });

  test('HEAD is answered from the entry of GET', async () => {
    await start({}, () => app.get('/a', async () => count()));
    await ask(`${url}/a`);
    await stored();
    const head = await ask(`${url}/a`, { method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, text: '' });
    expect(head.headers).toMatchObject({ 'x-cache': 'HIT', 'content-length': '11' });
    expect(calls).toBe(1);
  });

  test('a stream, and one that is too large', async () => {
    await start({ maxBody: 100 }, () => {
      app.get('/small', async (_request, reply) => {
        count();
        return reply.type('text/plain').send(Readable.from(['a', 'b']));
      });
      app.get('/large', async (_request, reply) => {
        count();
        return reply.type('text/plain').send(Readable.from(['x'.repeat(80), 'y'.repeat(80)]));
      });
    });
    expect((await ask(`${url}/small`)).text).toBe('ab');
    await until(async () => (await ask(`${url}/small`)).headers['x-cache'] === 'HIT', 'a hit');
    expect((await ask(`${url}/small`)).text).toBe('ab');
    expect(calls).toBe(1);
    expect((await ask(`${url}/large`)).text).toHaveLength(160);
    expect((await ask(`${url}/large`)).text).toHaveLength(160);
    expect(calls).toBe(3);
  });

  test('the variants of Vary', async () => {
    await start({}, () => app.get('/a', async (request, reply) => {
      void reply.header('Vary', 'Accept-Language');
      return { ...count(), language: request.headers['accept-language'] ?? null };
    }));
    for (const language of ['de', 'en', 'de']) {
      const get = () => ask(`${url}/a`, { headers: { 'Accept-Language': language } });
      await until(async () => (await get()).headers['x-cache'] === 'HIT', 'a hit');
      expect(JSON.parse((await get()).text).language).toBe(language);
    }
    expect(calls).toBe(3);
  });
});

describe('rules', () => {
  test('of a route: other rules, or none', async () => {
    await start({}, () => {
      app.get('/all', { config: { larder: { varyQuery: [] } } }, async () => count());
      app.get('/none', { config: { larder: false } }, async () => count());
    });
    expect([await made('/all?x=1'), await made('/all?x=2')]).toEqual([1, 1]);
    expect([await made('/none'), await made('/none')]).toEqual([2, 3]);
  });

  test('only routes that ask for it', async () => {
    await start({ onlyConfigured: true }, () => {
      app.get('/a', { config: { larder: true } }, async () => count());
      app.get('/b', async () => count());
    });
    expect([await made('/a'), await made('/a')]).toEqual([1, 1]);
    expect([await made('/b'), await made('/b')]).toEqual([2, 3]);
  });

  test('by user, and after the hooks that identify the user', async () => {
    app.addHook('preHandler', async (request) => {
      (request as any).user = request.headers['x-user'];
    });
    await start({ cacheByUser: (request) => (request as any).user }, () => {
      app.get('/a', async () => count());
    });
    const by = (user: string) => made('/a', { headers: { 'X-User': user } });
    expect([await by('1'), await by('2'), await by('1'), await made('/a'), await made('/a')])
      .toEqual([1, 2, 1, 3, 4]);
  });

  test('POST by its body', async () => {
    await start({ post: true }, () => app.post('/a', async () => count()));
    const post = (body: unknown) => made('/a', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
    });
    expect([await post({ x: 1, y: 2 }), await post({ y: 2, x: 1 }), await post({ x: 2 })])
      .toEqual([1, 1, 2]);
  });

  test('tags, purge, and writes to a path', async () => {
    await start({}, () => {
      app.get('/a/:id', async (request, reply) => {
        addCacheTags(reply.raw, `id:${(request.params as any).id}`);
        return count();
      });
      app.put('/a/:id', async () => ({}));
    });
    expect([await made('/a/1'), await made('/a/2'), await made('/a/1')]).toEqual([1, 2, 1]);
    await app.larderCache.invalidateTags('id:1');
    expect([await made('/a/1'), await made('/a/2')]).toEqual([3, 2]);
    await app.larderCache.purge('/a/2');
    expect([await made('/a/1'), await made('/a/2')]).toEqual([3, 4]);
    await until(async () => (await entries().countKeys()) === 2, 'both are stored');
    await ask(`${url}/a/1`, { method: 'PUT' });
    await until(async () => (await entries().countKeys()) === 1, 'one is invalid');
  });
});

test('a path without a route, and an answer with no body', async () => {
  await start({ statuses: [200, 404] }, () => {
    app.get('/empty', async (_request, reply) => {
      count();
      return reply.code(200).send();
    });
  });
  expect((await ask(`${url}/none`)).status).toBe(404);
  expect((await ask(`${url}/none`)).status).toBe(404);
  expect((await ask(`${url}/empty`)).text).toBe('');
  await until(async () => (await ask(`${url}/empty`)).headers['x-cache'] === 'HIT', 'a hit');
  expect(calls).toBe(1);
});

test('what must not be cached', async () => {
  await start({}, () => {
    app.get('/cookie', async (_request, reply) => reply.header('Set-Cookie', 'a=1').send(count()));
    app.get('/private', async (_request, reply) =>
      reply.header('Cache-Control', 'private').send(count()));
    app.get('/bad', async () => {
      count();
      throw new Error('no');
    });
  });
  expect([await made('/cookie'), await made('/cookie')]).toEqual([1, 2]);
  expect([await made('/private'), await made('/private')]).toEqual([3, 4]);
  expect((await ask(`${url}/bad`)).status).toBe(500);
  expect((await ask(`${url}/bad`)).status).toBe(500);
  expect(calls).toBe(6);
});

test('inject works as a request does', async () => {
  await start({ varyOrigin: false }, () => app.get('/a', async () => count()));
  expect((await app.inject('/a')).json()).toEqual({ calls: 1 });
  await stored();
  const hit = await app.inject('/a');
  expect(hit.json()).toEqual({ calls: 1 });
  expect(hit.headers['x-cache']).toBe('HIT');
});

test('at an outage the handler makes every answer', async () => {
  const server = await LarderServer.start();
  const client = new Client({ target: server.target, preset: 'local', logger: null });
  await start({ client }, () => app.get('/a', async () => count()));
  expect(await made('/a')).toBe(1);
  await until(async () => (await ask(`${url}/a`)).headers['x-cache'] === 'HIT', 'a hit');
  await server.stop();
  expect([await made('/a'), await made('/a')]).toEqual([2, 3]);
  await expect(app.larderCache.purge('/a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await client.close();
});
