/** The calls of the client under test, and their results as plain data. */
import { type Client, FOREVER, type Namespace } from '../../src/index.js';
import { type Fields, isMap } from './grammar.js';

const CHAIN_END = Object.getPrototypeOf(Object) as object;
/** Arguments that are durations; the client takes their text. */
const FOREVER_TEXT = 'forever';

/** `if_absent` as `ifAbsent`. */
export function camel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** An error with the names of its classes. */
export function errorAsData(error: unknown): Fields | null {
  if (error === undefined || error === null) return null;
  const classes: string[] = [];
  let kind = (error as object).constructor as any;
  while (kind !== null && kind !== CHAIN_END && typeof kind === 'function' && kind.name !== '') {
    classes.push(kind.name);
    kind = Object.getPrototypeOf(kind);
  }
  const { code, reason, retryAfter, message } = error as any;
  return { class: classes, code, reason: reason ?? '', retry_after: retryAfter, message };
}

/** A result with the names that the cases use. Durations are milliseconds. */
export function asData(result: any): any {
  if (result instanceof Map) {
    return { results: Object.fromEntries([...result].map(([key, one]) => [key, asData(one)])) };
  }
  if (typeof result === 'boolean' || typeof result === 'number' || result == null) {
    return { value: result };
  }
  const fields: Fields = {};
  for (const name of Object.keys(result)) fields[snake(name)] = result[name];
  for (const name of ['stored', 'removed']) {
    if (isMap(fields[name])) fields[name] = asData(fields[name]);
  }
  if ('error' in fields) fields.error = errorAsData(fields.error);
  if ('applied' in fields) fields.missing = fields.reason === 'MISSING';
  return fields;
}

function withForever(args: Fields): Fields {
  return args.ttl === FOREVER_TEXT ? { ...args, ttl: FOREVER } : args;
}

function options(args: Fields, signal: AbortSignal | undefined): any {
  const made: Fields = signal === undefined ? {} : { signal };
  for (const [name, value] of Object.entries(withForever(args))) made[camel(name)] = value;
  return made;
}

type Call = (namespace: Namespace, args: any, signal?: AbortSignal) => Promise<unknown>;

/** Each operation as a call. */
export const CALLS: Record<string, Call> = {
  get: (on, { key, ...rest }, signal) => on.get(key, options(rest, signal)),
  async get_and_change(on, { key, path, value }) {
    const result = await on.get(key);
    try {
      (result.value as any)[path].push(value);
    } catch (error) {
      // A client may make its values unchangeable.
      if (!(error instanceof TypeError)) throw error;
    }
    return result;
  },
  set: (on, { key, value, ...rest }, signal) => on.set(key, value, options(rest, signal)),
  delete: (on, { key, ...rest }, signal) => on.delete(key, options(rest, signal)),
  get_many: (on, { keys, ...rest }, signal) => on.getMany(keys, options(rest, signal)),
  set_many: (on, { items, ...rest }, signal) => on.setMany(items, options(rest, signal)),
  delete_many: (on, { keys, ...rest }, signal) => on.deleteMany(keys, options(rest, signal)),
  contains: (on, { key, ...rest }, signal) => on.has(key, options(rest, signal)),
  touch: (on, { key, ttl, ...rest }, signal) => on.touch(key, ttl, options(rest, signal)),
  increment: (on, { key, delta, ...rest }, signal) =>
    on.increment(key, delta ?? 1, options(rest, signal)),
  patch(on, { key, merge, json_patch: jsonPatch, ...rest }, signal) {
    const change = merge === undefined ? { jsonPatch } : { merge };
    return on.patch(key, change, options(rest, signal));
  },
  get_or_fetch: (on, { key, loader, ...rest }, signal) =>
    on.getOrFetch(key, loader?.one, options(rest, signal)),
  get_or_fetch_many: (on, { keys, loader, ...rest }, signal) =>
    on.getOrFetchMany(keys, loader?.many, options(rest, signal)),
  invalidate: (on, { hold_off: holdOff, ...targets }) => on.invalidate(targets, { holdOff }),
  invalidate_namespace: (on) => on.invalidateNamespace(),
  publish_event: (on, { name, attributes }) => on.publishEvent(name, attributes),
  async list_keys(on, args) {
    const keys = new Set<string>();
    for await (const { key } of on.listKeys(options(args, undefined))) keys.add(key);
    return { sorted: [...keys].sort() };
  },
  count_keys: (on, args) => on.countKeys(options(args, undefined)),
  async watch(on, args) {
    for await (const _ of on.watch(args)) break;
    return {};
  },
  async stats(on) {
    await on.stats();
    return {};
  },
};

/** Sum of a counter over all namespaces. */
export function counter(client: Client, name: string): number {
  const short = name.replace('larder.client.', '');
  return Object.values(client.counters()).reduce(
    (sum, counts) => sum + (counts as Record<string, number>)[short]!, 0,
  );
}

