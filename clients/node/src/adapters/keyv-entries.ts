import type { Namespace } from '../index.js';
import type { Connection } from './support.js';

/** Settings that the stores for all releases of Keyv have. */
export interface KeyvSettings {
  /** Namespace of Larder for a Keyv without one; `keyv` by default. */
  defaultNamespace?: string;
  /** Prefix of the names of namespaces, so that Keyv has its own; empty by default. */
  prefix?: string;
}

/** A value to store, for `ttl` milliseconds from now. */
export interface KeyvEntry {
  key: string;
  value: unknown;
  ttl: number;
}

/** Keys whose values an iterator reads at once. */
const ITERATOR_BATCH = 100;

/** The entries of all namespaces of a store of Keyv. */
export class KeyvEntries {
  readonly #connection: Connection;
  readonly #prefix: string;
  readonly #defaultNamespace: string;
  readonly #onError: (error: unknown) => void;
  #last: { name: string; handle: Namespace<unknown> } | undefined;

  constructor(connection: Connection, settings: KeyvSettings, onError: (error: unknown) => void) {
    this.#connection = connection;
    this.#prefix = settings.prefix ?? '';
    this.#defaultNamespace = settings.defaultNamespace ?? 'keyv';
    this.#onError = onError;
  }

  async get<V>(namespace: string | undefined, key: string): Promise<V | undefined> {
    const result = await this.#namespace(namespace).get(key);
    this.#report(result.error);
    return result.found ? (result.value as V) : undefined;
  }

  async getMany<V>(namespace: string | undefined, keys: string[]): Promise<(V | undefined)[]> {
    if (keys.length === 0) return [];
    const results = await this.#namespace(namespace).getMany(keys);
    let error: unknown;
    const values = keys.map((key) => {
      const result = results.get(key);
      error ??= result?.error;
      return result?.found ? (result.value as V) : undefined;
    });
    this.#report(error);
    return values;
  }

  async set(namespace: string | undefined, { key, value, ttl }: KeyvEntry): Promise<boolean> {
    const result = await this.#namespace(namespace).set(key, value, { ttl });
    // A value that has already expired is as good as stored: it is gone.
    if (result.stored || result.reason === 'EXPIRED') return true;
    this.#report(result.error);
    return false;
  }

  async setMany(namespace: string | undefined, entries: KeyvEntry[]): Promise<boolean[]> {
    // A batch has one lifetime.
    const batches = new Map<number, KeyvEntry[]>();
    for (const entry of entries) {
      const batch = batches.get(entry.ttl);
      if (batch === undefined) batches.set(entry.ttl, [entry]);
      else batch.push(entry);
    }
    const stored = new Map<string, boolean>();
    for (const [ttl, batch] of batches) {
      const pairs = batch.map(({ key, value }): [string, unknown] => [key, value]);
      const results = await this.#namespace(namespace).setMany(pairs, { ttl });
      for (const [key, result] of results) {
        if (!result.stored) this.#report(result.error);
        stored.set(key as string, result.stored || result.reason === 'EXPIRED');
      }
    }
    return entries.map(({ key }) => stored.get(key) === true);
  }

  async delete(namespace: string | undefined, key: string): Promise<boolean> {
    return (await this.#namespace(namespace).delete(key)).existed;
  }

  async deleteMany(namespace: string | undefined, keys: string[]): Promise<boolean[]> {
    if (keys.length === 0) return [];
    const results = await this.#namespace(namespace).deleteMany(keys);
    return keys.map((key) => results.get(key)?.existed === true);
  }

  async has(namespace: string | undefined, key: string): Promise<boolean> {
    return this.#namespace(namespace).has(key);
  }

  async hasMany(namespace: string | undefined, keys: string[]): Promise<boolean[]> {
    return Promise.all(keys.map((key) => this.has(namespace, key)));
  }

  async clear(namespace: string | undefined): Promise<void> {
    await this.#namespace(namespace).invalidateNamespace();
  }

  async *iterate<V>(
    namespace: string | undefined,
  ): AsyncGenerator<[string, V | undefined], void> {
    const keys = new Set<string>();
    const handle = this.#namespace(namespace);
    for await (const { key } of handle.listKeys()) {
      keys.add(key);
      if (keys.size < ITERATOR_BATCH) continue;
      yield* this.#values<V>(namespace, keys);
      keys.clear();
    }
    yield* this.#values<V>(namespace, keys);
  }

  async disconnect(): Promise<void> {
    await this.#connection.close();
  }

  async *#values<V>(
    namespace: string | undefined,
    keys: ReadonlySet<string>,
  ): AsyncGenerator<[string, V | undefined], void> {
    const list = [...keys];
    const values = await this.getMany<V>(namespace, list);
    for (const [index, key] of list.entries()) {
      // An entry can expire between the list and the read.
      if (values[index] !== undefined) yield [key, values[index]];
    }
  }

  #namespace(namespace: string | undefined): Namespace<unknown> {
    const name = this.#prefix + (namespace || this.#defaultNamespace);
    if (this.#last?.name !== name) {
      const handle = this.#connection.client.namespace<unknown>(name, { onError: 'open' });
      this.#last = { name, handle };
    }
    return this.#last.handle;
  }

  #report(error: unknown): void {
    if (error !== undefined && error !== null) this.#onError(error);
  }
}
