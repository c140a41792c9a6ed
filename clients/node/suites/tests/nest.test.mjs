// NestJS 12 with its CacheModule on the adapter for Keyv.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import {
  CACHE_MANAGER, CacheInterceptor, CacheKey, CacheModule, CacheTTL,
} from '@nestjs/cache-manager';
import { Controller, Get, Param, UseInterceptors } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import Keyv from 'keyv';
import { Client } from 'larder-cache';
import { larderCacheModule } from 'larder-cache/nest';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';

const client = new Client({ preset: 'local' });
afterAll(() => client.close());

/** As the decorators of TypeScript do it. */
function decorate(type, name, decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(type.prototype, name);
  for (const decorator of decorators) decorator(type.prototype, name, descriptor);
}

let calls = 0;
class Reports {
  daily() {
    calls += 1;
    return { calls };
  }
  named() {
    calls += 1;
    return { calls };
  }
  one(id) {
    calls += 1;
    return { id, calls };
  }
}
decorate(Reports, 'daily', [Get('daily')]);
decorate(Reports, 'named', [Get('named'), CacheKey('own-key'), CacheTTL(60_000)]);
decorate(Reports, 'one', [Get(':id')]);
Param('id')(Reports.prototype, 'one', 0);
UseInterceptors(CacheInterceptor)(Reports);
Controller('reports')(Reports);

let app;
let namespace;
let url;
async function start(options = {}) {
  const testing = await Test.createTestingModule({
    imports: [CacheModule.register(larderCacheModule(Keyv, { client, namespace, ...options }))],
    controllers: [Reports],
  }).compile();
  app = testing.createNestApplication({ logger: false });
  await app.listen(0, '127.0.0.1');
  url = await app.getUrl();
}
const fetchJson = async (path) => (await fetch(`${url}${path}`)).json();
/** NestJS answers before it has stored the answer. */
const fetchAndStore = async (path, key = path) => {
  const answer = await fetchJson(path);
  const isStored = () => client.namespace(namespace).has(`${namespace}:${key}`);
  await expect.poll(isStored, { timeout: 5000 }).toBe(true);
  return answer;
};

beforeEach(() => {
  calls = 0;
  namespace = `nest-${randomUUID().slice(0, 8)}`;
});
afterEach(() => app.close());

describe('CacheModule', () => {
  it('gives the cache to providers', async () => {
    await start();
    const cache = app.get(CACHE_MANAGER);
    await cache.set('key', { n: 1 }, 60_000);
    expect(await cache.get('key')).toEqual({ n: 1 });
    expect(await client.namespace(namespace).has(`${namespace}:key`)).toBe(true);
    await cache.del('key');
    expect(await cache.get('key')).toBeUndefined();
    await cache.set('key', 1);
    await cache.clear();
    expect(await cache.get('key')).toBeUndefined();
  });

  it('the interceptor answers a second request from Larder', async () => {
    await start();
    expect(await fetchAndStore('/reports/daily')).toEqual({ calls: 1 });
    expect(await fetchJson('/reports/daily')).toEqual({ calls: 1 });
    expect(await fetchAndStore('/reports/7')).toEqual({ id: '7', calls: 2 });
    expect(await fetchJson('/reports/8')).toEqual({ id: '8', calls: 3 });
    expect(await fetchJson('/reports/7')).toEqual({ id: '7', calls: 2 });
    expect(await client.namespace(namespace).has(`${namespace}:/reports/daily`)).toBe(true);
  });

  it('the key and the lifetime of a handler', async () => {
    await start({ ttl: '10s' });
    await fetchAndStore('/reports/named', 'own-key');
    await fetchAndStore('/reports/daily');
    const entries = client.namespace(namespace);
    expect((await entries.get(`${namespace}:own-key`)).ttlRemaining).toBeGreaterThan(50_000);
    const daily = await entries.get(`${namespace}:/reports/daily`);
    expect(daily.ttlRemaining).toBeLessThanOrEqual(10_000);
  });

  it('a second instance of the application has the same values', async () => {
    await start();
    await fetchAndStore('/reports/daily');
    await app.close();
    await start();
    expect(await fetchJson('/reports/daily')).toEqual({ calls: 1 });
  });

  it('an invalidation in Larder is seen at once', async () => {
    await start();
    await fetchAndStore('/reports/daily');
    await client.namespace(namespace).invalidateNamespace();
    expect(await fetchJson('/reports/daily')).toEqual({ calls: 2 });
  });
});
