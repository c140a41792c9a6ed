import { EventEmitter } from 'node:events';
import { type ClientSource, connectionOf } from './adapters/support.js';
import { KeyvEntries, type KeyvSettings } from './adapters/keyv-entries.js';

/** Options of {@link LarderStore}. */
export interface LarderStoreOptions extends ClientSource, KeyvSettings {}

/** An item of `setMany`. */
export interface LarderStoreEntry {
  key: string;
  value: unknown;
  /** Milliseconds; 0 and undefined: as long as the server permits. */
  ttl?: number;
}

/**
 * Storage adapter for Keyv 5, and so for cache-manager, NestJS and whatever else takes a store of
 * Keyv: `new Keyv({ store: new LarderStore({ client }), namespace: 'users' })`.
 *
 * The namespace of Keyv is the namespace of Larder. Each Keyv has a store of its own, because Keyv
 * sets the namespace of its store. At an outage reads are misses and writes are refused, with an
 * `error` event; `delete` and `clear` reject, which Keyv turns into an `error` event, or throws
 * with `throwOnErrors`.
 */
export class LarderStore extends EventEmitter {
  /** Keyv offers its iterator only for the dialects in a list of its own. */
  readonly opts: { dialect: string; url: string; deserialize?: unknown; serialize?: unknown };
  /** Set by Keyv. */
  namespace: string | undefined;
  readonly #entries: KeyvEntries;

  constructor(options: LarderStoreOptions = {}) {
    super();
    // An `error` event without a listener would be thrown.
    this.on('error', () => {});
    this.opts = { dialect: 'redis', url: '' };
    this.#entries = new KeyvEntries(connectionOf(options), options, (error) => {
      this.emit('error', error);
    });
  }

  get<Value>(key: string): Promise<Value | undefined> {
    return this.#entries.get(this.namespace, key);
  }

  getMany<Value>(keys: string[]): Promise<(Value | undefined)[]> {
    return this.#entries.getMany(this.namespace, keys);
  }

  /** @returns whether the value is stored */
  set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    return this.#entries.set(this.namespace, { key, value, ttl: lifetime(ttl) });
  }

  /** Typed as the interface of Keyv 5, which returns its result to the caller as it is. */
  setMany(entries: LarderStoreEntry[]): Promise<void> {
    const items = entries.map(({ key, value, ttl }) => ({ key, value, ttl: lifetime(ttl) }));
    return this.#entries.setMany(this.namespace, items) as Promise<unknown> as Promise<void>;
  }

  /** @returns whether there was an entry */
  delete(key: string): Promise<boolean> {
    return this.#entries.delete(this.namespace, key);
  }

  /** @returns whether there was an entry of any of the keys */
  async deleteMany(keys: string[]): Promise<boolean> {
    return (await this.#entries.deleteMany(this.namespace, keys)).includes(true);
  }

  has(key: string): Promise<boolean> {
    return this.#entries.has(this.namespace, key);
  }

  hasMany(keys: string[]): Promise<boolean[]> {
    return this.#entries.hasMany(this.namespace, keys);
  }

  /** Invalidates all entries of the namespace. */
  clear(): Promise<void> {
    return this.#entries.clear(this.namespace);
  }

  /** All entries of the namespace, in no order. */
  iterator<Value>(namespace = this.namespace): AsyncGenerator<[string, Value | undefined], void> {
    return this.#entries.iterate(namespace);
  }

  /** Closes the client, if it belongs to the store. */
  disconnect(): Promise<void> {
    return this.#entries.disconnect();
  }
}

/** 0, null and undefined are a value without an end in Keyv. */
function lifetime(ttl: number | null | undefined): number {
  return ttl === undefined || ttl === null || ttl === 0 ? Number.POSITIVE_INFINITY : ttl;
}

export default LarderStore;
