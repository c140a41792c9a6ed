import { EventEmitter } from 'node:events';
import { type ClientSource, connectionOf } from './adapters/support.js';
import { KeyvEntries, type KeyvEntry, type KeyvSettings } from './adapters/keyv-entries.js';

/** Options of {@link LarderStore}. */
export interface LarderStoreOptions extends ClientSource, KeyvSettings {}

/** An item of `setMany`. */
export interface LarderStoreEntry {
  key: string;
  value: unknown;
  /** Milliseconds since 1970; undefined: as long as the server permits. */
  expires?: number;
}

/** The methods that Keyv 6 looks for. */
const METHODS = [
  'get', 'getMany', 'has', 'hasMany', 'set', 'setMany', 'delete', 'deleteMany', 'clear',
  'disconnect', 'iterator',
] as const;

/**
 * Storage adapter for Keyv 6, which gives the time at which a value expires. It declares this
 * contract, so that Keyv uses it without its bridge. Otherwise it is the adapter for Keyv 5.
 */
export class LarderStore extends EventEmitter {
  /** Set by Keyv. */
  namespace: string | undefined;
  readonly #entries: KeyvEntries;

  constructor(options: LarderStoreOptions = {}) {
    super();
    // An `error` event without a listener would be thrown.
    this.on('error', () => {});
    this.#entries = new KeyvEntries(connectionOf(options), options, (error) => {
      this.emit('error', error);
    });
  }

  /** As in EventEmitter, with the type that Keyv gives to listeners. */
  override listeners(event: string | symbol): ((...args: any[]) => void)[] {
    return super.listeners(event) as ((...args: any[]) => void)[];
  }

  /** As in EventEmitter, with the type that Keyv gives to listeners. */
  override rawListeners(event: string | symbol): ((...args: any[]) => void)[] {
    return super.rawListeners(event) as ((...args: any[]) => void)[];
  }

  /** The contract that Keyv looks for. */
  get capabilities() {
    const method = { exists: true, methodType: 'async' as const };
    const methods = Object.fromEntries(METHODS.map((name) => [name, method]));
    return {
      compatible: true,
      store: 'keyvStorage' as const,
      expires: true,
      methods: methods as Record<(typeof METHODS)[number], typeof method>,
    };
  }

  async get<Value>(key: string): Promise<Value | undefined> {
    return this.#entries.get(this.namespace, key);
  }

  async getMany<Value>(keys: string[]): Promise<(Value | undefined)[]> {
    return this.#entries.getMany(this.namespace, keys);
  }

  /** @returns whether the value is stored; true for one that has already expired */
  async set(key: string, value: unknown, expires?: number): Promise<boolean> {
    return this.#entries.set(this.namespace, relative({ key, value, expires }, Date.now()));
  }

  /** @returns for each entry, whether it is stored */
  async setMany(entries: LarderStoreEntry[]): Promise<boolean[]> {
    const now = Date.now();
    return this.#entries.setMany(this.namespace, entries.map((entry) => relative(entry, now)));
  }

  /** @returns whether there was an entry */
  async delete(key: string): Promise<boolean> {
    return this.#entries.delete(this.namespace, key);
  }

  /** @returns for each key, whether there was an entry */
  async deleteMany(keys: string[]): Promise<boolean[]> {
    return this.#entries.deleteMany(this.namespace, keys);
  }

  async has(key: string): Promise<boolean> {
    return this.#entries.has(this.namespace, key);
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return this.#entries.hasMany(this.namespace, keys);
  }

  /** Invalidates all entries of the namespace. */
  async clear(): Promise<void> {
    await this.#entries.clear(this.namespace);
  }

  /** All entries of the namespace, in no order. */
  iterator<Value>(): AsyncGenerator<[string, Value | undefined], void> {
    return this.#entries.iterate(this.namespace);
  }

  /** Closes the client, if it belongs to the store. */
  async disconnect(): Promise<void> {
    await this.#entries.disconnect();
  }
}

/** The time at which a value expires as the time that is left. */
function relative({ key, value, expires }: LarderStoreEntry, now: number): KeyvEntry {
  const ends = typeof expires === 'number' && Number.isFinite(expires);
  return { key, value, ttl: ends ? expires - now : Number.POSITIVE_INFINITY };
}

export default LarderStore;
