import type { ServerResponse } from 'node:http';
import type { ClientSource } from '../adapters/support.js';
import type { Duration } from '../index.js';

/** The id of a user; undefined, null and empty text: there is none. */
export type UserId = string | number | bigint | undefined | null;

/** Rules of what is cached, for one route or for all. `Request` is that of the framework. */
export interface HttpCacheRules<Request> {
  /**
   * Lifetime of answers without one of their own (`Cache-Control: max-age` and `s-maxage`, or
   * `Expires`). None: such answers are not cached.
   */
  ttl?: Duration | ((request: Request, response: ServerResponse) => Duration | undefined);
  /** Requests that go past the cache: their answers are neither read from it nor stored. */
  skip?: (request: Request) => boolean | Promise<boolean>;
  /**
   * One answer per user: a function that returns the id of the user. A request without one goes
   * past the cache. Answers with `private` and to requests with `Authorization` are cached then.
   */
  cacheByUser?: (request: Request) => UserId | Promise<UserId>;
  /** The parameters of the query that make different answers. None given: all. */
  varyQuery?: readonly string[];
  /** Headers of the request that make different answers, besides those in `Vary`. */
  varyHeaders?: readonly string[];
  /** Whether the scheme and the host of the request make different answers; true by default. */
  varyOrigin?: boolean;
  /**
   * Cache answers to POST, by the digest of the body: `true` takes `request.body`, a function
   * returns what the answer depends on, or a promise of it.
   */
  post?: boolean | ((request: Request) => unknown);
  /** Tags of an answer, for `invalidate({ tags })`; {@link addCacheTags} adds to them. */
  tags?: readonly string[] | ((request: Request, response: ServerResponse) => readonly string[]);
  /** Statuses of answers that are cached; 200 by default. */
  statuses?: readonly number[];
  /** Largest body that is cached, in bytes: 512 KiB by default. A larger one passes through. */
  maxBody?: number;
  /**
   * Obey `Cache-Control` of requests: `no-cache` and `max-age` make a new answer, `no-store` goes
   * past the cache. Off by default, because then any caller can defeat the cache.
   */
  obeyRequests?: boolean;
}

/** Options of a cache of HTTP answers. */
export interface HttpCacheOptions<Request> extends ClientSource, HttpCacheRules<Request> {
  /** Namespace of Larder; `http` by default. */
  namespace?: string;
  /**
   * For how long requests of a URL do not wait for each other after an answer that must not be
   * cached; 10 s by default.
   */
  passFor?: Duration;
  /** Adds `x-cache-key` to answers. */
  debug?: boolean;
  /** Errors of the cache, which requests do not see; warnings of the process by default. */
  onError?: (error: unknown) => void;
}

const TAGS = Symbol('larder tags');

/** Adds tags to the answer of a request, if it is cached. Call it before the answer ends. */
export function addCacheTags(response: ServerResponse, ...tags: string[]): void {
  const tagged = response as ServerResponse & { [TAGS]?: string[] };
  (tagged[TAGS] ??= []).push(...tags);
}

/** The tags that {@link addCacheTags} has added. */
export function addedTags(response: ServerResponse): readonly string[] {
  return (response as ServerResponse & { [TAGS]?: string[] })[TAGS] ?? [];
}
