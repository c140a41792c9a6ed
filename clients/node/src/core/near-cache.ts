import { Feed, type Listener } from './feed.js';
import type { Hit, Result } from './results.js';
import { nearResult } from './results.js';

/** Bounds of a near cache. */
export interface NearCacheOptions {
  /** Bytes of values and keys: 64 MiB. */
  maxBytes?: number;
  /** Entries: 10,000. */
  maxEntries?: number;
}

interface Entry<T> {
  readonly id: string;
  readonly key: string;
  readonly value: T;
  readonly version: string;
  readonly tags: readonly string[];
  /** By the steady clock, in milliseconds. */
  readonly writtenAt: number;
  readonly endsAt: number;
  readonly bytes: number;
}

/** A read that is under way; a change that may concern it makes `clean` false. */
export interface Pending {
  readonly key: string;
  readonly startedAt: number;
  clean: boolean;
}

const MAX_BYTES = 64 * 1024 * 1024;
const MAX_ENTRIES = 10_000;
/** What an entry takes besides its key and its value. */
const ENTRY_BYTES = 256;

function bound(value: number | undefined, fallback: number, name: string): number {
  if (value === undefined) return fallback;
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`nearCache.${name}: expected a positive whole number, got ${value}`);
  }
  return value;
}

/**
 * Values of a namespace in this process, kept coherent by a feed: without one it is empty and
 * unused. The least recently used go first. Values are shared by those who read them, so that
 * objects are frozen and bytes are copied.
 */
export class NearCache<T> implements Listener {
  private readonly entries = new Map<string, Entry<T>>();
  /** Ids by key, for entries with params. */
  private readonly idsByKey = new Map<string, Set<string>>();
  private readonly pending = new Set<Pending>();
  private readonly maxBytes: number;
  private readonly maxEntries: number;
  private bytes = 0;

  constructor(
    private readonly feed: Feed,
    options: NearCacheOptions,
  ) {
    this.maxBytes = bound(options.maxBytes, MAX_BYTES, 'maxBytes');
    this.maxEntries = bound(options.maxEntries, MAX_ENTRIES, 'maxEntries');
    feed.listen(this);
  }

  /** Number of entries. */
  get size(): number {
    return this.entries.size;
  }

  /** The value of an entry, if it is certain to be that of the store. */
  get(id: string): Hit<T> | undefined {
    const now = performance.now();
    if (!this.feed.live(now)) return undefined;
    const entry = this.entries.get(id);
    if (entry === undefined) return undefined;
    if (now >= entry.endsAt) {
      this.drop(entry);
      return undefined;
    }
    // The last in the order of the map is the one that was used last.
    this.entries.delete(id);
    this.entries.set(id, entry);
    const { value, version, writtenAt, endsAt, tags } = entry;
    return nearResult(shared(value), version, now - writtenAt, endsAt - now, tags);
  }

  /** Begins a read whose result may be kept. Undefined: there is no feed. */
  begin(key: string): Pending | undefined {
    const now = performance.now();
    if (!this.feed.live(now)) return undefined;
    const pending = { key, startedAt: now, clean: true };
    this.pending.add(pending);
    return pending;
  }

  /** Ends a read, and keeps its result if nothing has changed meanwhile. */
  end(pending: Pending, id?: string, result?: Result<T>, valueBytes = 0): void {
    this.pending.delete(pending);
    if (!pending.clean || id === undefined || result?.outcome !== 'HIT') return;
    if (result.tier !== 'store' || !this.feed.live(performance.now())) return;
    const { value, version, tags, age = 0, ttlRemaining = 0 } = result;
    const bytes = ENTRY_BYTES + valueBytes + 2 * id.length;
    if (bytes > this.maxBytes) return;
    const previous = this.entries.get(id);
    if (previous !== undefined) this.drop(previous);
    freeze(value);
    // The lifetimes are those of the answer, which is later than the begin of the read.
    const entry: Entry<T> = {
      id,
      key: pending.key,
      value: Buffer.isBuffer(value) ? (Buffer.from(value) as T) : value,
      version,
      tags,
      writtenAt: pending.startedAt - age,
      endsAt: pending.startedAt + ttlRemaining,
      bytes,
    };
    this.entries.set(id, entry);
    this.bytes += bytes;
    if (id.charCodeAt(0) !== PLAIN_ID) {
      const ids = this.idsByKey.get(entry.key) ?? new Set();
      this.idsByKey.set(entry.key, ids.add(id));
    }
    for (const oldest of this.entries.values()) {
      if (this.bytes <= this.maxBytes && this.entries.size <= this.maxEntries) break;
      this.drop(oldest);
    }
  }

  private drop(entry: Entry<T>): void {
    if (!this.entries.delete(entry.id)) return;
    this.bytes -= entry.bytes;
    const ids = this.idsByKey.get(entry.key);
    ids?.delete(entry.id);
    if (ids?.size === 0) this.idsByKey.delete(entry.key);
  }

  keyChanged(key: string): void {
    for (const pending of this.pending) if (pending.key === key) pending.clean = false;
    const plain = this.entries.get(`=${key}`);
    if (plain !== undefined) this.drop(plain);
    for (const id of this.idsByKey.get(key) ?? []) this.drop(this.entries.get(id)!);
  }

  matching(concerns: (key: string, tags: readonly string[]) => boolean): void {
    // The tags of a value that is on its way are not known.
    for (const pending of this.pending) pending.clean = false;
    for (const entry of this.entries.values()) {
      if (concerns(entry.key, entry.tags)) this.drop(entry);
    }
  }

  clear(): void {
    for (const pending of this.pending) pending.clean = false;
    this.entries.clear();
    this.idsByKey.clear();
    this.bytes = 0;
  }
}

const PLAIN_ID = '='.charCodeAt(0);

function shared<T>(value: T): T {
  return Buffer.isBuffer(value) ? (Buffer.from(value) as T) : value;
}

/** Freezes plain objects and arrays, with all that they hold. */
function freeze(value: unknown): void {
  if (value === null || typeof value !== 'object' || Object.isFrozen(value)) return;
  const prototype = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return;
  Object.freeze(value);
  for (const member of Object.values(value)) freeze(member);
}
