import { describe, expect, test } from 'vitest';
import { addCacheTags } from '../../src/express.js';
import { Client, loaded } from '../../src/index.js';
import { LarderServer } from '../../src/testing.js';
import { deferred, until } from '../support.js';
import { ask, useExpress } from './support.js';

const site = useExpress();

describe('invalidation', () => {
  test('by tags of the rules and of the handler', async () => {
    const cache = site.cacheOf({ tags: (request) => [`user:${request.params.id}`] });
    site.app.get('/users/:id', cache, (_request, response) => {
      site.calls += 1;
      addCacheTags(response, 'users', 'all');
      response.json({ calls: site.calls });
    });
    const made = async (id: number) => {
      return JSON.parse((await ask(`${site.url}/users/${id}`)).text).calls;
    };
    expect([await made(1), await made(2), await made(1), await made(2)]).toEqual([1, 2, 1, 2]);
    await cache.invalidateTags('user:1');
    expect([await made(1), await made(2)]).toEqual([3, 2]);
    await cache.invalidateTags('users');
    expect([await made(1), await made(2)]).toEqual([4, 5]);
  });

  test('by path, with all queries', async () => {
    const cache = site.count('/*any');
    const made = async (path: string) => JSON.parse((await ask(site.url + path)).text).calls;
    const long = `/${'long'.repeat(100)}`;
    expect([await made('/a?x=1'), await made('/a?x=2'), await made('/b'), await made(long)])
      .toEqual([1, 2, 3, 4]);
    await cache.purge('/a');
    await cache.purge(long);
    expect([await made('/a?x=1'), await made('/b'), await made(long)]).toEqual([5, 3, 6]);
  });

  test('an answer that was being made at the time is not stored', async () => {
    const gate = deferred();
    const cache = site.cacheOf({ tags: ['t'] });
    site.app.get('/a', cache, async (_request, response) => {
      site.calls += 1;
      if (site.calls === 1) await gate.promise;
      response.json({ calls: site.calls });
    });
    const first = ask(`${site.url}/a`);
    await until(() => site.calls === 1, 'the handler runs');
    await cache.invalidateTags('t');
    gate.resolve();
    expect((await first).text).toBe('{"calls":1}');
    expect((await ask(`${site.url}/a`)).text).toBe('{"calls":2}');
  });
});

describe('clients that go away', () => {
  test('one that waits leaves the answer to the others', async () => {
    const gate = deferred();
    site.app.get('/a', site.cacheOf(), async (_request, response) => {
      site.calls += 1;
      await gate.promise;
      response.json({ calls: site.calls });
    });
    const gone = new AbortController();
    const first = fetch(`${site.url}/a`, { signal: gone.signal }).catch((error) => error.name);
    await until(() => site.calls === 1, 'the handler runs');
    const second = ask(`${site.url}/a`);
    gone.abort();
    expect(await first).toBe('AbortError');
    gate.resolve();
    // The handler went on, and its answer is that of the request that waited.
    expect(await second).toMatchObject({ status: 200, text: '{"calls":1}' });
    expect(site.calls).toBe(1);
  });

  test('one that leaves before its handler could begin leaves the answer to others', async () => {
    const other = new Client({ target: site.used.server.target, preset: 'local', logger: null });
    const gate = deferred();
    // Another process computes the same entry, so that requests wait for the lease.
    const held = other.namespace(site.namespace).getOrFetch('/a', async () => {
      await gate.promise;
      return loaded<unknown>(null, { store: false });
    });
    await until(() => other.counters()[site.namespace]?.loads, 'the other process computes');
    site.count('/a', { varyOrigin: false });
    const { flights } = site.entries().scope.core.flights as unknown as {
      flights: Map<string, { callers: number }>;
    };
    const waiting = (callers: number) =>
      until(() => [...flights.values()].some((each) => each.callers === callers), 'callers wait');
    const gone = new AbortController();
    const first = fetch(`${site.url}/a`, { signal: gone.signal }).catch((error) => error.name);
    await waiting(1);
    const second = ask(`${site.url}/a`);
    await waiting(2);
    gone.abort();
    expect(await first).toBe('AbortError');
    await waiting(1);
    gate.resolve();
    expect(await second).toMatchObject({ status: 200 });
    expect(site.calls).toBe(1);
    await held;
    await other.close();
  });

  test('an answer that is shorter than it says is not stored', async () => {
    site.app.get('/a', site.cacheOf(), (_request, response) => {
      site.calls += 1;
      response.writeHead(200, { 'Content-Length': '10' });
      response.end('short', () => response.destroy());
    });
    const refused = () => ask(`${site.url}/a`).catch((error) => error.code);
    expect([await refused(), await refused()]).toEqual(['ECONNRESET', 'ECONNRESET']);
    expect(site.calls).toBe(2);
    expect(await site.entries().countKeys()).toBe(0);
  });

  test('a stream that is cut is not stored, and another request makes it again', async () => {
    const cut = deferred();
    site.app.get('/a', site.cacheOf(), (_request, response) => {
      site.calls += 1;
      response.write('half');
      if (site.calls === 1) cut.promise.then(() => response.destroy());
      else response.end(' whole');
    });
    const first = ask(`${site.url}/a`).catch((error) => error.code);
    await until(() => site.calls === 1, 'the handler runs');
    const second = ask(`${site.url}/a`);
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
    site.count('/a', { client });
    await ask(`${site.url}/a`);
    await site.hit('/a');
    await own.stop();
    site.calls = 0;
    for (let index = 1; index <= 3; index += 1) {
      const answer = await ask(`${site.url}/a`);
      expect(answer).toMatchObject({ status: 200 });
      expect(JSON.parse(answer.text).calls).toBe(index);
    }
    expect((await ask(`${site.url}/a`, { method: 'HEAD' })).status).toBe(200);
    const again = await LarderServer.start({ port });
    await site.hit('/a');
    await client.close();
    await again.stop();
  });

  test('purge and invalidateTags reject', async () => {
    const client = new Client({ target: '127.0.0.1:1', preset: 'local', logger: null });
    const cache = site.cacheOf({ client });
    await expect(cache.purge('/a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(cache.invalidateTags('t')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await client.close();
  });

  test('a mistake, such as too many tags, is told and harms no request', async () => {
    site.count('/a', { tags: Array.from({ length: 40 }, (_, index) => `t${index}`) });
    for (let index = 1; index <= 2; index += 1) {
      expect(JSON.parse((await ask(`${site.url}/a`)).text).calls).toBe(index);
    }
    await until(() => site.errors.length > 0, 'the error is told');
    site.errors = [];
  });
});
