import type { NamespaceStats, StatsResponse } from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import type { CallSpec } from './caller.js';
import { fromWire } from './durations.js';
import { globMatcher } from './globs.js';
import { type CallOptions, type Core, type Scope, spec } from './scope.js';

/** The key of an entry. */
export interface ListedKey {
  readonly key: string;
  /** Digest of the params and the schema versions; empty if there are none. */
  readonly paramsDigest: string;
}

/** Options of listings. */
export interface ListOptions extends CallOptions {
  /** Only keys that match: `*`, `?`, `[a-z]`. */
  glob?: string;
  /** Keys per call: 100; at most 1,000. */
  pageSize?: number;
}

/** The server takes a larger number as this. */
const LARGEST_PAGE = 1000;

/** Time limit of calls that go through the whole store. */
const LIST_TIMEOUT_MS = 5000;

/** The keys of a namespace, in no order. A page is asked for when it is needed. */
export async function* listKeys(
  scope: Scope<any>,
  options: ListOptions | undefined,
): AsyncGenerator<ListedKey, void> {
  const how = listSpec(scope, options);
  let pageToken = '';
  do {
    const answer = await scope.core.caller.unary(
      methods.listKeys,
      {
        namespace: scope.namespace,
        glob: options?.glob ?? '',
        pageSize: Math.min(LARGEST_PAGE, options?.pageSize ?? 0),
        pageToken,
      },
      how,
    );
    yield* answer.keys;
    pageToken = answer.nextPageToken;
  } while (pageToken !== '');
}

/** The number of keys of a namespace. */
export async function countKeys(
  scope: Scope<any>,
  options: Omit<ListOptions, 'pageSize'> | undefined,
): Promise<number> {
  const how = listSpec(scope, options);
  let count = 0;
  let pageToken = '';
  do {
    const answer = await scope.core.caller.unary(
      methods.countKeys,
      { namespace: scope.namespace, glob: options?.glob ?? '', pageToken },
      how,
    );
    count += Number(answer.count);
    pageToken = answer.nextPageToken;
  } while (pageToken !== '');
  return count;
}

function listSpec(scope: Scope<any>, options: ListOptions | undefined): CallSpec {
  const { glob, pageSize } = options ?? {};
  if (glob !== undefined && glob !== '') globMatcher(glob);
  if (pageSize !== undefined && (!Number.isInteger(pageSize) || pageSize < 1)) {
    throw new RangeError(`pageSize: expected a positive whole number, got ${String(pageSize)}`);
  }
  const timeout = Math.max(LIST_TIMEOUT_MS, scope.core.limits.call);
  return spec(scope, options, { idempotent: true, open: false, timeout });
}

/** A message in plain types: numbers, milliseconds for durations, and dates. */
export type Plain<T> = T extends bigint
  ? number
  : T extends { seconds: bigint; nanos: number }
    ? number
    : T extends readonly (infer E)[]
      ? Plain<E>[]
      : T extends Date
        ? T
        : T extends object
          ? { [K in keyof T]: Plain<T[K]> }
          : T;

/** Statistics of the whole fleet. Durations are in milliseconds. */
export type Stats = Omit<Plain<StatsResponse>, 'nextPageToken'>;
/** Statistics of one namespace. */
export type StatsOfNamespace = Plain<NamespaceStats>;

function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map((member) => plain(member));
  if (value === null || typeof value !== 'object' || value instanceof Date) return value;
  if ('seconds' in value && 'nanos' in value) {
    return fromWire(value as { seconds: bigint; nanos: number });
  }
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, plain(member)]),
  );
}

/** Statistics of namespaces; of all if there are none in the list. */
export async function stats(
  core: Core,
  how: CallSpec,
  namespaces: readonly string[],
): Promise<Stats> {
  let first: StatsResponse | undefined;
  let pageToken = '';
  do {
    const answer = await core.caller.unary(
      methods.stats,
      { namespaces: [...namespaces], pageSize: 0, pageToken },
      { ...how, timeout: Math.max(how.timeout, LIST_TIMEOUT_MS) },
    );
    if (first === undefined) first = answer;
    else first.namespaces.push(...answer.namespaces);
    pageToken = answer.nextPageToken;
  } while (pageToken !== '');
  const { nextPageToken: _, ...rest } = plain(first) as Plain<StatsResponse>;
  return rest;
}
