import { createHash } from 'node:crypto';
import type { Headers } from './entries.js';

/** Parts of the key of an answer. */
export interface KeyParts {
  method: string;
  /** Path and query, as in the first line of the request. */
  url: string;
  headers: Headers;
  /** Scheme and host; undefined if they make no difference. */
  origin: string | undefined;
  user: string | undefined;
  /** Digest of the body; undefined for a request without one. */
  body: string | undefined;
}

/** The key of all answers of a path. */
export function pathOf(url: string): string {
  const end = url.indexOf('?');
  return (end === -1 ? url : url.slice(0, end)) || '/';
}

/** The tag that all answers of a path have. */
export function pathTag(path: string): string {
  const tag = `path:${path}`;
  if (Buffer.byteLength(tag) <= 128) return tag;
  return `path:#${createHash('sha256').update(path).digest('hex')}`;
}

/** All that makes different answers, besides the path and the headers. */
export function paramsOf(parts: KeyParts, varyQuery: readonly string[] | undefined) {
  const params: Record<string, string> = {};
  const query = queryOf(parts.url, varyQuery);
  if (query !== '') params.query = query;
  if (parts.method !== 'GET') params.method = parts.method;
  if (parts.origin !== undefined) params.origin = parts.origin;
  if (parts.body !== undefined) params.body = parts.body;
  if (parts.user !== undefined) params.user = parts.user;
  // Answers to requests with credentials are apart: what they are must not affect the others.
  else if (parts.headers.authorization !== undefined) params.authorized = '1';
  return params;
}

/** The params of a variant: those without headers, and these headers of the request. */
export function variantOf(
  params: Readonly<Record<string, string>>,
  headers: Headers,
  names: Iterable<string>,
): Record<string, string> {
  const variant = { ...params };
  for (const name of names) {
    const value = headers[name];
    // A header that is missing makes another answer than an empty one, and another entry than
    // that which names the headers.
    if (value === undefined) variant[`no-header:${name}`] = '';
    else variant[`header:${name}`] = value.trim().replace(/\s+/g, ' ');
  }
  return variant;
}

/** The query with its names sorted, so that their order makes no difference. */
function queryOf(url: string, names: readonly string[] | undefined): string {
  const start = url.indexOf('?');
  if (start === -1) return '';
  const query = new URLSearchParams(url.slice(start + 1));
  if (names !== undefined) {
    for (const name of new Set(query.keys())) if (!names.includes(name)) query.delete(name);
  }
  query.sort();
  const sorted = query.toString();
  // Bytes that are not UTF-8 have all become the same character: only the raw query has them.
  return sorted.includes('%EF%BF%BD') ? url.slice(start + 1) : sorted;
}

/**
 * The digest of a body that was parsed, or of what an answer depends on.
 *
 * @throws TypeError if it is not JSON, text or bytes
 */
export function bodyDigest(body: unknown): string {
  const hash = createHash('sha256');
  if (typeof body === 'string') hash.update('text:').update(body);
  else if (body instanceof Uint8Array) hash.update('data:').update(body);
  else {
    const text = JSON.stringify(body, sorted);
    if (text === undefined) throw new TypeError(`post: a ${typeof body} cannot be a key`);
    hash.update('json:').update(text);
  }
  return hash.digest('hex');
}

/**
 * Members in the order of their names, so that their order makes no difference.
 *
 * @throws TypeError for what JSON would change: different bodies would be one key
 */
function sorted(name: string, value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new TypeError(`post: ${value} cannot be a part of a key`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    const where = name === '' ? 'the body' : name;
    throw new TypeError(`post: ${where} is a ${value.constructor?.name}, which has no JSON`);
  }
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
