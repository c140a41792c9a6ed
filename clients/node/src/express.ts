import type { NextFunction, Request, Response } from 'express';
import { type Answer, HttpCache } from './http/engine.js';
import type { HttpCacheOptions, HttpCacheRules } from './http/options.js';

export { addCacheTags } from './http/options.js';

/** Rules for some routes. */
export type LarderCacheRules = HttpCacheRules<Request>;
/** Options of {@link larderCache}. */
export type LarderCacheOptions = HttpCacheOptions<Request>;

/** Middleware of Express. */
export type Middleware = (request: Request, response: Response, next: NextFunction) => void;

/** Middleware that caches answers, and what belongs to it. */
export interface LarderCache extends Middleware {
  /** Middleware with the same cache and other rules. */
  with(rules: LarderCacheRules): Middleware;
  /** Invalidates all answers of a path, with every query and for every user. */
  purge(path: string): Promise<void>;
  /** Invalidates all answers with any of the tags. */
  invalidateTags(...tags: string[]): Promise<void>;
  /** Closes the client, if it belongs to the cache. */
  close(): Promise<void>;
}

/**
 * Middleware for Express 4 and 5 that caches answers:
 * `app.get('/reports', larderCache({ client, ttl: '5m' }), handler)`.
 *
 * Put it after what identifies the user. A request never fails because of its cache.
 */
export function larderCache(options: LarderCacheOptions = {}): LarderCache {
  const cache = new HttpCache<Request>(options);
  const middleware = (rules?: LarderCacheRules): Middleware => (request, response, next) => {
    cache
      .begin(
        {
          request,
          raw: request,
          response,
          url: request.originalUrl ?? request.url,
          origin: `${request.protocol}://${request.headers.host ?? ''}`,
          body: request.body,
        },
        rules,
      )
      .then((answer) => (answer === undefined ? next() : send(response, answer)))
      .catch(next);
  };
  return Object.assign(middleware(), {
    with: middleware,
    purge: (path: string) => cache.purge(path),
    invalidateTags: (...tags: string[]) => cache.invalidateTags(...tags),
    close: () => cache.close(),
  });
}

function send(response: Response, { status, headers, body }: Answer): void {
  response.statusCode = status;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.end(body);
}
