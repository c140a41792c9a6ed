import { createServer, request as httpRequest, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type Express } from 'express';
import { afterEach, beforeEach, expect } from 'vitest';
import { type LarderCache, larderCache, type LarderCacheOptions } from '../../src/express.js';
import { fresh, until, useServer } from '../support.js';

/** An answer, with all of its body. */
export interface Received {
  status: number;
  headers: Record<string, string>;
  text: string;
}

/** A request of a test. */
export interface Asked {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

/** Serves on a free port. */
export async function serve(listener: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

/** Ends a server and its connections. */
export async function end(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

/** One request; unlike `fetch` it can set any header, and sends no others. */
export function ask(url: string, options: Asked = {}): Promise<Received> {
  const { method = 'GET', headers = {}, body } = options;
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const received = Object.entries(response.headers).map(([name, value]) => [
          name, Array.isArray(value) ? value.join(', ') : value ?? '',
        ]);
        resolve({
          status: response.statusCode!,
          headers: Object.fromEntries(received),
          text: Buffer.concat(chunks).toString('utf8'),
        });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** A program of Express on a free port, with a namespace of its own, for each test of a file. */
export function useExpress() {
  const used = useServer();
  const site = {
    used,
    app: undefined as unknown as Express,
    url: '',
    namespace: '',
    /** Errors of the cache; a test that expects errors empties it. */
    errors: [] as unknown[],
    calls: 0,
    cacheOf(options: LarderCacheOptions = {}): LarderCache {
      return larderCache({
        client: used.client,
        namespace: site.namespace,
        ttl: '1m',
        onError: (error) => site.errors.push(error),
        ...options,
      });
    },
    /** A route that counts its calls. */
    count(path: string, options: LarderCacheOptions = {}, headers = {}): LarderCache {
      const cache = site.cacheOf(options);
      site.app.all(path, cache, (request, response) => {
        site.calls += 1;
        response.set(headers).json({ calls: site.calls, url: request.originalUrl });
      });
      return cache;
    },
    entries: () => used.client.namespace(site.namespace),
    stored: (keys = 1) =>
      until(async () => (await site.entries().countKeys()) === keys, `${keys} answers are stored`),
    hit: (path: string, options: Asked = {}) =>
      until(async () => {
        const answer = await ask(site.url + path, options);
        return answer.headers['x-cache'] === 'HIT' ? answer : undefined;
      }, `a hit for ${path}`),
  };
  let server: Server;
  beforeEach(async () => {
    Object.assign(site, { app: express(), namespace: fresh('http'), errors: [], calls: 0 });
    const served = await serve(site.app);
    server = served.server;
    site.url = served.url;
  });
  afterEach(async () => {
    await end(server);
    expect(site.errors).toEqual([]);
  });
  return site;
}
