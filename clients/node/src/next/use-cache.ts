import { type Codec, DecodeError, type Duration, FOREVER, type Namespace } from '../index.js';
import { larderTags, type TagRecords } from './tags.js';

/** An entry of `use cache`, as `CacheEntry` of `next/cache`. */
export interface UseCacheEntry {
  value: ReadableStream<Uint8Array>;
  tags: string[];
  /** Seconds. */
  stale: number;
  /** Milliseconds since 1970. */
  timestamp: number;
  /** Seconds. */
  expire: number;
  /** Seconds. */
  revalidate: number;
}

/** A handler for `cacheHandlers` of Next.js, as `CacheHandler` of `next/cache`. */
export interface UseCacheHandler {
  get(cacheKey: string, softTags: string[]): Promise<UseCacheEntry | undefined>;
  set(cacheKey: string, pendingEntry: Promise<UseCacheEntry>): Promise<void>;
  refreshTags(): Promise<void>;
  getExpiration(tags: string[]): Promise<number>;
  updateTags(tags: string[], durations?: { expire?: number }): Promise<void>;
}

/** An entry as it is stored. */
export interface StoredEntry extends Omit<UseCacheEntry, 'value'> {
  body: Buffer;
}

/** An entry is the length of its facts in 4 bytes, the facts as JSON, and what was streamed. */
export const entryCodec: Codec<StoredEntry> = {
  encode({ body, ...facts }) {
    const head = Buffer.from(JSON.stringify(facts));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(head.length);
    return { kind: 'data', value: Buffer.concat([length, head, body]) };
  },
  decode(encoded) {
    if (encoded.kind !== 'data') throw new DecodeError('not an entry of use cache');
    const { buffer, byteOffset, byteLength } = encoded.value;
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    const end = 4 + bytes.readUInt32BE(0);
    if (end > bytes.length) throw new DecodeError('an entry without its value');
    return { ...JSON.parse(bytes.toString('utf8', 4, end)), body: bytes.subarray(end) };
  },
};

/** Entries of `use cache` in a namespace. */
export function useCacheHandler(
  entries: Namespace<StoredEntry>,
  tags: TagRecords,
  onError: (error: unknown) => void,
): UseCacheHandler {
  const pending = new Map<string, Promise<void>>();

  async function store(key: string, pendingEntry: Promise<UseCacheEntry>): Promise<void> {
    const { value, ...facts } = await pendingEntry;
    // An entry that expires at once is made for each request.
    if (facts.expire <= 0) {
      await value.cancel();
      return;
    }
    const body = Buffer.from(await new Response(value).arrayBuffer());
    const ttl: Duration = Number.isFinite(facts.expire) ? facts.expire * 1000 : FOREVER;
    const carried = larderTags(facts.tags);
    await entries.set(key, { ...facts, body }, { ttl, tags: carried });
  }

  async function read(key: string, softTags: string[]): Promise<UseCacheEntry | undefined> {
    const [result, soft] = await Promise.all([entries.get(key), tags.state(softTags)]);
    if (!result.found || soft === undefined) return undefined;
    const { body, ...facts } = result.value;
    const own = await tags.state(facts.tags);
    if (own === undefined) return undefined;
    if (Math.max(soft.expired, own.expired) > facts.timestamp) return undefined;
    const stale = Math.max(soft.stale, own.stale) > facts.timestamp;
    return { ...facts, ...(stale ? { revalidate: -1 } : {}), value: streamOf(body) };
  }

  return {
    async get(cacheKey, softTags) {
      await pending.get(cacheKey);
      try {
        return await read(cacheKey, softTags);
      } catch (error) {
        // A value is made again rather than that its request fails.
        onError(error);
        return undefined;
      }
    },

    async set(cacheKey, pendingEntry) {
      const storing = store(cacheKey, pendingEntry).catch(onError);
      // A read of the key waits for the entry that is being made.
      pending.set(cacheKey, storing);
      try {
        await storing;
      } finally {
        if (pending.get(cacheKey) === storing) pending.delete(cacheKey);
      }
    },

    // The state of tags is read with each entry.
    async refreshTags() {},

    // Next.js passes the soft tags to `get` then.
    async getExpiration() {
      return Number.POSITIVE_INFINITY;
    },

    async updateTags(updated, durations) {
      await tags.revalidate(updated, durations);
    },
  };
}

function streamOf(body: Buffer): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(new Uint8Array(body.buffer, body.byteOffset, body.byteLength));
      controller.close();
    },
  });
}
