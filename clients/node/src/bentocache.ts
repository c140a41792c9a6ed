import { LarderBus } from './adapters/bento-bus.js';
import { type ClientSource, connectionOf, prefixGlob, warn } from './adapters/support.js';
import type { Connection } from './adapters/support.js';
import { FOREVER, type Namespace } from './index.js';

/** Options of {@link larderDriver}. */
export interface LarderDriverOptions extends ClientSource {
  /**
   * Namespace of Larder, with one part per part of the prefix: `bentocache` by default, which is
   * the default prefix of bentocache.
   */
  prefix?: string;
}

/** A driver as bentocache takes it. */
export interface LarderDriverFactory {
  options: LarderDriverOptions;
  factory: (config: LarderDriverOptions) => LarderDriver;
}

/**
 * Driver of bentocache's second layer:
 * `bentostore().useL1Layer(memoryDriver({})).useL2Layer(larderDriver({ client }))`.
 *
 * At an outage reads are misses and writes are refused; `delete`, `pull` and `clear` reject.
 */
export function larderDriver(options: LarderDriverOptions = {}): LarderDriverFactory {
  return { options, factory: (config) => new LarderDriver(config) };
}

/** Options of {@link larderBusDriver}. */
export interface LarderBusOptions extends ClientSource {
  /** Namespace of the messages; `bentocache-bus` by default. */
  namespace?: string;
  /** Called with the errors of subscriptions; they are warnings of the process by default. */
  onError?: (error: unknown) => void;
  /** Of bentocache: whether and how often messages that failed are repeated. */
  retryQueue?: { enabled?: boolean; maxSize?: number; retryInterval?: number | string | false };
}

/**
 * Bus of bentocache, which keeps the first layers of processes alike:
 * `bentostore().useL1Layer(...).useL2Layer(...).useBus(larderBusDriver({ client }))`.
 */
export function larderBusDriver(options: LarderBusOptions = {}) {
  return {
    options,
    factory: () => {
      const { namespace = 'bentocache-bus', onError } = options;
      return new LarderBus(connectionOf(options), namespace, onError ?? warn);
    },
  };
}

/** See {@link larderDriver}. */
export class LarderDriver {
  readonly type = 'l2' as const;
  readonly #config: LarderDriverOptions;
  readonly #connection: Connection;
  readonly #handle: Namespace<string>;
  /** Prefix of keys: empty, or the nested namespaces, each with a colon. */
  readonly #path: string;

  constructor(config: LarderDriverOptions, parent?: { connection: Connection; path: string }) {
    this.#connection = parent?.connection ?? connectionOf(config);
    this.#path = parent?.path ?? '';
    const name = (config.prefix ?? 'bentocache').replace(/:+$/, '') || 'bentocache';
    this.#handle = this.#connection.client.namespace<string>(name, { onError: 'open' });
    this.#config = config;
  }

  /** A driver for the keys that begin with `namespace:`. */
  namespace(namespace: string): LarderDriver {
    const path = `${this.#path}${namespace.replace(/:+$/, '')}:`;
    return new LarderDriver(this.#config, { connection: this.#connection, path });
  }

  async get(key: string): Promise<string | undefined> {
    const result = await this.#handle.get(this.#path + key);
    return result.found ? result.value : undefined;
  }

  /** Reads and deletes a value in one atomic step. */
  async pull(key: string): Promise<string | undefined> {
    const { removed } = await this.#handle.delete(this.#path + key, { returnValue: true });
    return removed?.outcome === 'HIT' ? removed.value : undefined;
  }

  /**
   * @param ttl milliseconds; none or 0: as long as the server permits; negative: the value is gone
   * @returns whether the value is stored
   */
  async set(key: string, value: string, ttl?: number): Promise<boolean> {
    const result = await this.#handle.set(this.#path + key, value, { ttl: ttl || FOREVER });
    return result.stored || result.reason === 'EXPIRED';
  }

  /** Invalidates the entries of the namespace and of those in it. */
  async clear(): Promise<void> {
    if (this.#path === '') {
      await this.#handle.invalidateNamespace();
    } else {
      await this.#handle.invalidate({ globs: [prefixGlob(this.#path)] });
    }
  }

  /** @returns whether there was an entry */
  async delete(key: string): Promise<boolean> {
    return (await this.#handle.delete(this.#path + key)).existed;
  }

  async deleteMany(keys: string[]): Promise<boolean> {
    if (keys.length > 0) {
      await this.#handle.deleteMany(keys.map((key) => this.#path + key));
    }
    return true;
  }

  /** Closes the client, if it belongs to the driver. */
  async disconnect(): Promise<void> {
    await this.#connection.close();
  }
}
