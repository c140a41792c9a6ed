import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Headers } from './entries.js';
import { bodyDigest, paramsOf, pathOf, variantOf } from './keys.js';
import type { HttpCacheRules } from './options.js';

/** A request of a framework. */
export interface Exchange<Request> {
  request: Request;
  /** The request of Node. */
  raw: IncomingMessage;
  response: ServerResponse;
  /** Path and query as the client sent them. */
  url: string;
  /** Scheme and host as the client sees them. */
  origin: string;
  /** The body, if it was parsed. */
  body: unknown;
}

/** A request whose answer may come from the cache. */
export interface Lookup<Request> {
  exchange: Exchange<Request>;
  rules: HttpCacheRules<Request>;
  shared: boolean;
  path: string;
  params: Record<string, string>;
  headers: Headers;
  /** Headers that are part of the key. */
  names: Set<string>;
}

/** Requests with these get a part of an answer, or none, and go past the cache. */
const PARTIAL = ['range', 'if-match', 'if-unmodified-since', 'if-range'];

/** @returns undefined for a request that goes past the cache */
export async function lookupOf<Request>(
  exchange: Exchange<Request>,
  rules: HttpCacheRules<Request>,
): Promise<Lookup<Request> | undefined> {
  const { request, raw, url } = exchange;
  const method = raw.method ?? 'GET';
  const path = pathOf(url);
  const cached = method === 'GET' || method === 'HEAD' || (method === 'POST' && rules.post);
  const headers = plainHeaders(raw);
  if (!cached || PARTIAL.some((name) => headers[name] !== undefined)) return undefined;
  if (rules.obeyRequests && /no-store/i.test(headers['cache-control'] ?? '')) return undefined;
  if (await rules.skip?.(request)) return undefined;
  const user = await userOf(request, rules);
  if (rules.cacheByUser !== undefined && user === undefined) return undefined;
  const params = paramsOf(
    {
      method: method === 'HEAD' ? 'GET' : method,
      url,
      headers,
      origin: rules.varyOrigin === false ? undefined : exchange.origin,
      user,
      body: method === 'POST' ? bodyDigest(await bodyOf(exchange, rules.post)) : undefined,
    },
    rules.varyQuery,
  );
  const names = new Set((rules.varyHeaders ?? []).map((name) => name.toLowerCase()));
  return { exchange, rules, shared: user === undefined, path, params, headers, names };
}

/**
 * The user of a request.
 *
 * @throws TypeError if it is an object, whose text could be that of another user
 */
async function userOf<Request>(
  request: Request,
  { cacheByUser }: HttpCacheRules<Request>,
): Promise<string | undefined> {
  const user: unknown = await cacheByUser?.(request);
  if (user === undefined || user === null || user === '') return undefined;
  if (typeof user === 'string' || typeof user === 'bigint') return String(user);
  if (typeof user === 'number' && Number.isFinite(user)) return String(user);
  throw new TypeError(`cacheByUser: expected text or a number, got ${typeof user}`);
}

/** The key of an answer as text, for people. */
export function keyText(lookup: Lookup<any>): string {
  const params = variantOf(lookup.params, lookup.headers, lookup.names);
  const text = new URLSearchParams(params).toString();
  return text === '' ? lookup.path : `${lookup.path} ${text}`;
}

/** Headers with one value each, before the handler can change them. */
function plainHeaders(request: IncomingMessage): Headers {
  const headers: Headers = {};
  for (const [name, value] of Object.entries(request.headers)) {
    headers[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return headers;
}

async function bodyOf<Request>(
  exchange: Exchange<Request>,
  post: HttpCacheRules<Request>['post'],
): Promise<unknown> {
  const body = typeof post === 'function' ? await post(exchange.request) : exchange.body;
  if (typeof post === 'function') return body;
  const { headers } = exchange.raw;
  const empty = headers['content-length'] === undefined || headers['content-length'] === '0';
  if (empty && headers['transfer-encoding'] === undefined) return body ?? '';
  if (body === undefined || (isEmpty(body) && !wasRead(exchange.raw))) {
    throw new TypeError('post: the request has no parsed body: put a body parser before the cache');
  }
  return body;
}

function isEmpty(body: unknown): boolean {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return false;
  return !(body instanceof Uint8Array) && Object.keys(body).length === 0;
}

/** Whether an empty object can be the body: some parsers set one for bodies that they leave. */
function wasRead(raw: IncomingMessage): boolean {
  const type = raw.headers['content-type'] ?? '';
  return raw.readableEnded && /[/+]json\b|x-www-form-urlencoded/i.test(type);
}
