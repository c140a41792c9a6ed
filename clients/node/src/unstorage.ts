import { type ClientSource, connectionOf, prefixGlob, warn } from './adapters/support.js';
import { type Duration, FOREVER, type Namespace } from './index.js';

/** Options of {@link larderStorage}. */
export interface LarderStorageOptions extends ClientSource {
  /** Namespace of Larder; `unstorage` by default. */
  namespace?: string;
  /** Prefix of all keys, such as `cache:`; empty by default. */
  base?: string;
  /** Lifetime of items, in seconds or as text such as `5m`. None: as long as the server permits. */
  ttl?: Duration;
}

/** Options of one call. */
export interface LarderStorageCall {
  /** Lifetime, in seconds as in other drivers, or as text such as `5m`. */
  ttl?: Duration;
  tags?: string[];
  [option: string]: unknown;
}

interface Item {
  key: string;
  value: string;
  options?: LarderStorageCall;
}

/**
 * Driver for unstorage, and so for Nitro and Nuxt: `createStorage({ driver: larderStorage({
 * client }) })`.
 *
 * At an outage reads find nothing and `setItem` does nothing; `removeItem`, `getKeys` and `clear`
 * reject.
 */
export function larderStorage(options: LarderStorageOptions = {}) {
  const connection = connectionOf(options);
  const name = options.namespace ?? 'unstorage';
  const handle = connection.client.namespace<unknown>(name, { onError: 'open' });
  /** At an outage it throws, rather than that an item seems to be gone. */
  const present = connection.client.namespace<unknown>(name, { onError: 'raise' });
  const base = options.base ? `${options.base.replace(/:+$/, '')}:` : '';
  const watches = new Set<AbortController>();
  const settings = (call: LarderStorageCall | undefined) => ({
    ttl: lifetime(call?.ttl ?? options.ttl),
    tags: call?.tags,
  });
  const read = async (key: string) => {
    const result = await handle.get(base + key);
    return result.found ? result.value : null;
  };

  return {
    name: 'larder',
    options,
    flags: { ttl: true },
    getInstance: (): Namespace<unknown> => handle,

    async hasItem(key: string): Promise<boolean> {
      return handle.has(base + key);
    },

    /** Bytes are read as text. */
    async getItem(key: string): Promise<any> {
      return asText(await read(key));
    },

    async getItems(items: { key: string }[]): Promise<{ key: string; value: any }[]> {
      if (items.length === 0) return [];
      const results = await handle.getMany(items.map(({ key }) => base + key));
      return items.map(({ key }) => {
        const result = results.get(base + key);
        return { key, value: asText(result?.found ? result.value : null) };
      });
    },

    /** Bytes as `Buffer`, text as text, everything else as JSON. */
    async getItemRaw(key: string): Promise<any> {
      return read(key);
    },

    async setItem(key: string, value: string, call?: LarderStorageCall): Promise<void> {
      await handle.set(base + key, value, settings(call));
    },

    async setItems(items: Item[], common?: LarderStorageCall): Promise<void> {
      await Promise.all(
        items.map(({ key, value, options: call }) =>
          handle.set(base + key, value, settings({ ...common, ...call })),
        ),
      );
    },

    async setItemRaw(key: string, value: any, call?: LarderStorageCall): Promise<void> {
      await handle.set(base + key, value, settings(call));
    },

    async removeItem(key: string): Promise<void> {
      await handle.delete(base + key);
    },

    /** When the item was written, and the seconds that are left. */
    async getMeta(key: string): Promise<{ mtime: Date; ttl?: number; version: string } | null> {
      const result = await handle.get(base + key);
      if (!result.found) return null;
      const { age, ttlRemaining, version } = result;
      return {
        mtime: new Date(Date.now() - (age ?? 0)),
        ...(ttlRemaining === undefined ? {} : { ttl: Math.ceil(ttlRemaining / 1000) }),
        version,
      };
    },

    /** The keys that begin with `within`, in no order. */
    async getKeys(within = ''): Promise<string[]> {
      const keys = new Set<string>();
      for await (const { key } of handle.listKeys({ glob: prefixGlob(base + within) })) {
        keys.add(key.slice(base.length));
      }
      return [...keys];
    },

    async clear(within = ''): Promise<void> {
      if (base + within === '') {
        await handle.invalidateNamespace();
      } else {
        await handle.invalidate({ globs: [prefixGlob(base + within)] });
      }
    },

    /**
     * Calls back for items that any process writes or removes. What `clear` and `invalidate` remove
     * is not named, as in other drivers, nor what changes during an outage.
     */
    async watch(callback: (event: 'update' | 'remove', key: string) => unknown) {
      const ending = new AbortController();
      watches.add(ending);
      const changes = handle.watch({ keys: true, signal: ending.signal });
      try {
        // From the first event on, no change is missed.
        await changes.next();
      } catch (error) {
        watches.delete(ending);
        throw error;
      }
      void (async () => {
        for await (const change of changes) {
          if (change.type !== 'keys') continue;
          for (const { key } of change.keys) {
            if (!key.startsWith(base)) continue;
            const event = await present.has(key).then(
              (found) => (found ? 'update' : 'remove'),
              // Nothing is certain during an outage.
              () => undefined,
            );
            if (event === undefined) continue;
            // An error of the callback does not end the watch.
            await Promise.resolve<'update' | 'remove'>(event)
              .then((name) => callback(name, key.slice(base.length)))
              .catch(warn);
          }
        }
      })().catch((error) => {
        if (!ending.signal.aborted) warn(error);
      });
      return () => {
        watches.delete(ending);
        ending.abort();
      };
    },

    /** Ends all watches, and closes the client, if it belongs to the driver. */
    async dispose(): Promise<void> {
      for (const ending of watches) ending.abort();
      watches.clear();
      await connection.close();
    },
  };
}

/** Drivers of unstorage count lifetimes in seconds; 0 and none: no end. */
function lifetime(ttl: Duration | undefined): Duration {
  if (ttl === undefined || ttl === null || ttl === 0) return FOREVER;
  return typeof ttl === 'number' ? ttl * 1000 : ttl;
}

function asText(value: unknown): unknown {
  return Buffer.isBuffer(value) ? value.toString('utf8') : value;
}

export default larderStorage;
