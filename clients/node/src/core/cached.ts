import { type CallKey, type CallKeyOptions, CallKeys } from './call-keys.js';
import type { Codec } from './codecs.js';
import type { Duration } from './durations.js';
import { Loaded, loaded } from './loaders.js';
import type { Namespace } from './namespace.js';
import type { Deleted, Result, WriteResult } from './results.js';

/** Options of `cached`. */
export interface CachedOptions<A extends any[], T> extends CallKeyOptions<A> {
  /** The namespace of the values. */
  namespace: Namespace<any>;
  /** How long a value is fresh. */
  ttl?: Duration | ((value: T, ...args: A) => Duration);
  /** Tags of a value. */
  tags?: readonly string[] | ((value: T, ...args: A) => readonly string[]);
  /** Whether a value is stored; all are by default, null included. */
  cacheIf?: (value: T, ...args: A) => boolean;
  /** Whether a call goes to the function without the cache, such as for an administrator. */
  skip?: (...args: A) => boolean;
  /** How long to wait for the computation of another process: 5 s. */
  timeout?: Duration;
  /** Longest time past the TTL for which a value may be returned. */
  maxStale?: Duration;
  /** Reads and writes the values in place of the namespace's codec. */
  codec?: Codec<T>;
}

/** A function whose results are cached. */
export interface Cached<A extends any[], T> {
  /** The value: cached, or computed once by all processes. */
  (...args: A): Promise<T>;
  /** The entry of a call. */
  key(...args: A): CallKey;
  /** What the cache has for a call. Nothing is computed. */
  get(...args: A): Promise<Result<T>>;
  /** Stores a value as the result of a call. */
  set(value: T, ...args: A): Promise<WriteResult>;
  /** Removes the value of a call. */
  invalidate(...args: A): Promise<Deleted>;
  /** Computes the value of a call anew, and stores it. */
  refresh(...args: A): Promise<T>;
  /** Calls the function without the cache. */
  bypass(...args: A): Promise<T>;
  /** The function itself. */
  readonly original: (...args: A) => T | Promise<T>;
}

function ofValue<A extends any[], T, R>(
  option: R | ((value: T, ...args: A) => R) | undefined,
  value: T,
  args: A,
): R | undefined {
  return typeof option === 'function'
    ? (option as (value: T, ...args: A) => R)(value, ...args)
    : option;
}

/**
 * Caches the results of a function. Equal calls share one entry, and of all calls in all processes
 * that need a value at the same time, one computes it.
 *
 * An argument that is an `AbortSignal` cancels the call and is not part of the key; the function
 * receives a signal that is aborted when nobody waits for the value any more.
 *
 * @throws TypeError if an option is wrong
 */
export function cached<F extends (...args: any[]) => any>(
  fn: F,
  options: CachedOptions<Parameters<F>, Awaited<ReturnType<F>>>,
): Cached<Parameters<F>, Awaited<ReturnType<F>>> {
  type A = Parameters<F>;
  type T = Awaited<ReturnType<F>>;
  if (typeof fn !== 'function') {
    throw new TypeError(`cached: expected a function, got ${typeof fn}`);
  }
  if (/^(Async)?GeneratorFunction$/.test(fn.constructor.name)) {
    throw new TypeError('cached: the results of a generator cannot be cached');
  }
  const { namespace, ttl, tags, cacheIf, skip, timeout, maxStale, codec } = options;
  if (namespace === undefined) throw new TypeError('namespace: is required');
  const keys = new CallKeys<A>(fn.name, options);

  const fetch = async (self: unknown, args: A, refresh: boolean): Promise<T> => {
    const position = args.findIndex((arg) => arg instanceof AbortSignal);
    const load = async ({ signal }: { signal: AbortSignal }): Promise<Loaded<T>> => {
      const actual = [...args];
      if (position >= 0) actual[position] = signal;
      const value = await fn.apply(self, actual as A);
      const store = cacheIf?.(value, ...args) ?? true;
      if (!store) return loaded(value, { store: false });
      const own = { ttl: ofValue(ttl, value, args), tags: ofValue(tags, value, args) };
      return loaded(value, own);
    };
    const signal = position < 0 ? undefined : (args[position] as AbortSignal);
    const result = await namespace.getOrFetch<T>(keys.key(args), load, {
      signal, refresh, timeout, maxStale, codec,
    });
    return result.value as T;
  };

  const wrapper = async function (this: unknown, ...args: A): Promise<T> {
    if (skip?.(...args)) return (await fn.apply(this, args)) as T;
    return fetch(this, args, false);
  };
  return Object.assign(wrapper, {
    key: (...args: A) => keys.key(args),
    get: async (...args: A) => namespace.get<T>(keys.key(args), { maxStale, codec }),
    set: async (value: T, ...args: A) =>
      namespace.set<T>(keys.key(args), value, {
        ttl: ofValue(ttl, value, args),
        tags: ofValue(tags, value, args),
        codec,
      }),
    invalidate: async (...args: A) => namespace.delete(keys.key(args)),
    async refresh(this: unknown, ...args: A): Promise<T> {
      return fetch(this, args, true);
    },
    async bypass(this: unknown, ...args: A): Promise<T> {
      return (await fn.apply(this, args)) as T;
    },
    original: fn,
  });
}

/** Options of `cachedMany`. */
export interface CachedManyOptions<I, T> {
  /** The namespace of the values. */
  namespace: Namespace<any>;
  /** A template with `{0}`, such as `user:{0}`, or a function of an id. */
  key: string | ((id: I) => string | CallKey);
  ttl?: Duration;
  tags?: readonly string[];
  timeout?: Duration;
  codec?: Codec<T>;
}

/** Values by id: a map, an object by the text of the id, or pairs. */
export type ManyValues<I, T> =
  | ReadonlyMap<I, T>
  | Iterable<readonly [I, T]>
  | Readonly<Record<string, T>>;

/**
 * Caches a function from several ids to their values. It receives those that are missing; an id
 * without a value in its answer is not cached, and not in the result.
 */
export function cachedMany<I, T>(
  fn: (ids: I[]) => ManyValues<I, T> | Promise<ManyValues<I, T>>,
  options: CachedManyOptions<I, T>,
): (ids: Iterable<I>, signal?: AbortSignal) => Promise<Map<I, T>> {
  const keys = new CallKeys<[I]>(fn.name, { key: options.key });
  const { namespace, ttl, tags, timeout, codec } = options;
  return async (ids, signal) => {
    const wanted = new Map<CallKey, I>();
    for (const id of new Set(ids)) wanted.set(keys.key([id]), id);
    const load = async (missing: CallKey[]) => {
      const answer = await fn(missing.map((key) => wanted.get(key)!));
      const values = byId(answer);
      return missing.flatMap((key) => {
        const id = wanted.get(key)!;
        return values.has(id) ? [[key, values.get(id)!] as const] : [];
      });
    };
    const results = await namespace.getOrFetchMany<T, CallKey>(wanted.keys(), load, {
      signal, ttl, tags, timeout, codec,
    });
    const found = new Map<I, T>();
    for (const [key, result] of results) {
      if (result.found) found.set(wanted.get(key)!, result.value);
    }
    return found;
  };
}

function byId<I, T>(answer: ManyValues<I, T>): { has(id: I): boolean; get(id: I): T | undefined } {
  if (answer === null || typeof answer !== 'object') {
    throw new TypeError('cachedMany: expected a map, an object or pairs of ids and values');
  }
  if (Symbol.iterator in answer) return new Map(answer as Iterable<readonly [I, T]>);
  const members = answer as Readonly<Record<string, T>>;
  return { has: (id) => Object.hasOwn(members, String(id)), get: (id) => members[String(id)] };
}
