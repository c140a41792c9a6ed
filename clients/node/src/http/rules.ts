import CachePolicy from 'http-cache-semantics';
import fresh from 'fresh';
import type { Head, Headers } from './entries.js';

/** Conditions for an answer to be cached. */
export interface Rules {
  /** Whether the answer serves many users. */
  shared: boolean;
  statuses: readonly number[];
}

/** A policy whose clock is the age of the entry: the clocks of two machines do not matter. */
class AgedPolicy extends CachePolicy {
  elapsed: number | undefined;
  now(): number {
    return this.elapsed ?? 0;
  }
}

const EXPLICIT = /(?:^|,)\s*(?:max-age|s-maxage|no-cache)\s*(?:=|,|$)/i;

/**
 * How long an answer is fresh, by RFC 9111.
 *
 * @param ttl milliseconds for an answer without a lifetime of its own
 * @returns milliseconds; undefined if the answer must not be cached
 */
export function freshFor(
  request: Headers,
  response: Head,
  rules: Rules,
  ttl: number | undefined,
): number | undefined {
  const { status, headers } = response;
  if (!rules.statuses.includes(status) || headers['set-cookie'] !== undefined) return undefined;
  if (varyNames(headers).includes('*')) return undefined;
  // A stream of events has no end, and is for one client.
  if (/^\s*text\/event-stream/i.test(headers['content-type'] ?? '')) return undefined;
  const { authorization } = request;
  // Node adds Date when it sends the head; without it, Expires would count from 1970.
  const dated = { date: new Date().toUTCString(), ...headers };
  const policy = new AgedPolicy(
    { method: 'GET', headers: authorization === undefined ? {} : { authorization } },
    { status, headers: dated },
    { shared: rules.shared, cacheHeuristic: 0 },
  );
  if (!policy.storable()) return undefined;
  if (!isExplicit(headers)) return ttl;
  return Math.floor((policy.maxAge() - policy.age()) * 1000);
}

/** Whether an answer has a lifetime of its own, or none. */
function isExplicit(headers: Headers): boolean {
  const control = headers['cache-control'];
  if (headers.expires !== undefined || EXPLICIT.test(control ?? '')) return true;
  return control === undefined && /no-cache/i.test(headers.pragma ?? '');
}

/** The headers with which a cached answer is sent again: with Age, without those of a hop. */
export function headersOf(response: Head, age: number): Headers {
  const policy = agedPolicy(response, age);
  const { date: _, ...headers } = policy.responseHeaders() as Headers;
  headers.age = String(Math.floor(policy.age()));
  return headers;
}

/**
 * Whether a cached answer is recent enough for the `Cache-Control` of a request.
 *
 * @param age milliseconds since it was stored
 * @param remaining milliseconds for which it is fresh
 */
export function satisfies(
  request: Headers,
  response: Head,
  age: number,
  remaining: number,
): boolean {
  const { age: before } = response.headers;
  const seconds = Math.ceil((age + remaining) / 1000) + Number(before ?? 0);
  // How long it is fresh can also come from the rules of the program.
  const headers = {
    'cache-control': `max-age=${seconds}`,
    ...(before === undefined ? {} : { age: before }),
  };
  return agedPolicy({ status: response.status, headers }, age).satisfiesWithoutRevalidation({
    headers: pick(request, ['cache-control', 'pragma']),
  });
}

function agedPolicy(response: Head, age: number): AgedPolicy {
  const policy = new AgedPolicy({ method: 'GET', headers: {} }, response, { shared: true });
  policy.elapsed = age;
  return policy;
}

/** Whether a request has the answer already: a 304 is enough. */
export function isNotModified(request: Headers, status: number, response: Headers): boolean {
  if (status !== 200) return false;
  // Requests do not make the cache ask again, so `no-cache` of them plays no part.
  return fresh(pick(request, ['if-none-match', 'if-modified-since']), response);
}

/** The names in `Vary`, in lower case and sorted. */
export function varyNames(headers: Headers): string[] {
  const names = (headers.vary ?? '').toLowerCase().split(',').map((name) => name.trim());
  return [...new Set(names)].filter((name) => name !== '').sort();
}

/** The headers with these names that a request has. */
export function pick(headers: Headers, names: readonly string[]): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of names) {
    const value = headers[name];
    if (value !== undefined) picked[name] = value;
  }
  return picked;
}
