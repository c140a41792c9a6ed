import * as changes from './changes.js';
import { listOf } from './checks.js';
import { changing, removing, removingAll } from './feed.js';
import { type FetchManyOptions, getOrFetchMany } from './fetch-many.js';
import { type FetchOptions, getOrFetch } from './fetching.js';
import type { Loader, ManyLoader } from './loaders.js';
import { globMatcher } from './globs.js';
import * as invalidation from './invalidation.js';
import * as listing from './listing.js';
import type { Duration } from './durations.js';
import type { Params } from './names.js';
import * as reads from './reads.js';
import type {
  Deleted, Incremented, Invalidated, Patched, Result, Touched, WriteResult,
} from './results.js';
import { addressOf, type CallOptions, type Key, type Scope, spec } from './scope.js';
import { type Change, watch, type WatchOptions } from './watching.js';
import * as writes from './writes.js';

/**
 * A namespace: a logical cache with its own defaults. Handles are cheap; all of one client share
 * its connections. Made by `Client.namespace`.
 */
export class Namespace<T = any> {
  /** @internal */
  constructor(
    /** The name as it was given. */
    readonly name: string,
    /** @internal */
    readonly scope: Scope<T>,
  ) {}

  /** The name as the server has it. */
  get wireName(): string {
    return this.scope.namespace;
  }

  /** Reads one entry. Without the cache it is a miss. */
  get<U extends T = T>(key: Key, options?: reads.GetOptions<U>): Promise<Result<U>> {
    return reads.get(this.scope, key, options);
  }

  /** Reads several entries. The map has a result for each of `keys`, in their order. */
  getMany<U extends T = T, K extends Key = Key>(
    keys: Iterable<K>,
    options?: reads.ReadOptions<U>,
  ): Promise<Map<K, Result<U>>> {
    return reads.getMany(this.scope, keys, options);
  }

  /** Whether `get` would find a value. The value is not transferred. */
  has(key: Key, options?: Omit<reads.GetOptions<any>, 'codec'>): Promise<boolean> {
    return reads.has(this.scope, key, options);
  }

  /**
   * Stores one value.
   *
   * @throws EncodeError if the codec cannot send the value
   * @throws ResourceExhausted (`VALUE_TOO_LARGE`) if it is over the server's limit
   */
  set<U extends T = T>(key: Key, value: U, options?: writes.SetOptions<U>): Promise<WriteResult> {
    return this.changes(key, () => writes.set(this.scope, key, value, options));
  }

  /** Stores several values, each with a result of its own. It is not atomic. */
  async setMany<U extends T = T>(
    entries: writes.Entries<U>,
    options?: writes.WriteOptions<U>,
  ): Promise<Map<Key, WriteResult>> {
    const pairs = writes.pairsOf(entries);
    return changing(
      this.scope,
      (feed) => { for (const [key] of pairs) feed.keyChanged(addressOf(key).key); },
      () => writes.setMany(this.scope, pairs, options),
    );
  }

  /** Gives a fresh entry a new TTL from now. */
  touch(
    key: Key,
    ttl: Duration,
    options?: CallOptions & { params?: Params },
  ): Promise<Touched> {
    return this.changes(key, () => writes.touch(this.scope, key, ttl, options));
  }

  /**
   * Reads a value; one that is missing is computed. Of all calls in all processes that need the
   * value at the same time, one runs its loader, and the others receive its result. Without a
   * loader, the origin that the server has for the namespace is asked.
   *
   * A loader must not ask for the key that it computes: it would wait for itself.
   *
   * An error of the loader is thrown as it is. A cache that is away, slow or full is none: the
   * loader runs, and nothing is stored.
   */
  getOrFetch<U extends T = T>(
    key: Key,
    loader?: Loader<U>,
    options?: FetchOptions<U>,
  ): Promise<Result<U>> {
    return getOrFetch(this.scope, key, loader, options);
  }

  /**
   * Reads several values; the loader computes those that are missing, together. It receives their
   * keys, as they were given, and a key without a value in its answer is a miss.
   */
  getOrFetchMany<U extends T = T, K extends Key = Key>(
    keys: Iterable<K>,
    loader?: ManyLoader<U, K>,
    options?: FetchManyOptions<U>,
  ): Promise<Map<K, Result<U>>> {
    return getOrFetchMany(this.scope, keys, loader, options);
  }

  /**
   * Removes one entry. After that no read returns what was written, leased or fetched before.
   *
   * @throws Unavailable if the store did not apply it
   */
  delete<U extends T = T>(key: Key, options?: changes.DeleteOptions<U>): Promise<Deleted<U>> {
    return this.removes([key], () => changes.remove(this.scope, key, options));
  }

  /** Removes several entries, each with the guarantee of `delete`. */
  async deleteMany<K extends Key>(
    keys: Iterable<K>,
    options?: CallOptions & { holdOff?: Duration },
  ): Promise<Map<K, Deleted<never>>> {
    const named = listOf(keys, 'keys');
    return this.removes(named, () => changes.removeMany(this.scope, named, options));
  }

  /**
   * Adds to a counter, atomically. A missing one starts from `initial`. It is not repeated after an
   * error: the sum may be applied.
   *
   * @throws FailedPrecondition if the entry is not an integer (`NOT_AN_INTEGER`), or the sum needs
   * more than 64 bits (`OVERFLOW`)
   */
  increment(
    key: Key,
    delta: number | bigint = 1,
    options?: changes.IncrementOptions,
  ): Promise<Incremented> {
    return this.changes(key, () => changes.increment(this.scope, key, delta, options));
  }

  /**
   * Changes a part of a JSON value, atomically: `{ merge: { name: 'new' } }` or
   * `{ jsonPatch: [{ op: 'replace', path: '/name', value: 'new' }] }`.
   */
  patch(
    key: Key,
    change: changes.PatchOf,
    options?: changes.PatchOptions,
  ): Promise<Patched> {
    return this.changes(key, () => changes.patch(this.scope, key, change, options));
  }

  /**
   * Makes entries unreachable by tag, by pattern and by key.
   *
   * @throws Unavailable if the store did not apply all of it; the call can be repeated
   */
  async invalidate(
    targets: invalidation.Targets,
    options?: invalidation.InvalidateOptions,
  ): Promise<Invalidated> {
    const selected = invalidation.listed(targets);
    const keys = new Set(selected.keys.map((key) => addressOf(key).key));
    const globs = selected.globs.map((glob, index) => globMatcher(glob, `globs[${index}]`));
    return removing(
      this.scope,
      (feed) => {
        for (const key of keys) feed.keyChanged(key);
        for (const glob of selected.globs) feed.patternInvalidated(glob);
        if (selected.tags.length > 0) feed.tagsInvalidated(selected.tags);
      },
      // The tags of a value that is being computed are not known.
      (key) =>
        selected.tags.length > 0 ||
        keys.has(key) ||
        globs.some((matches) => matches(key)),
      () => invalidation.invalidate(this.scope, selected, options),
    );
  }

  /** Makes all entries of the namespace unreachable, at a cost independent of their number. */
  invalidateNamespace(options?: CallOptions): Promise<Invalidated> {
    return removing(this.scope, (feed) => feed.clear(), () => true, () =>
      invalidation.invalidateNamespace(this.scope, options),
    );
  }

  /** Invalidates what the rules of the server select for an event, in all namespaces. */
  async publishEvent(
    name: string,
    attributes: Readonly<Record<string, string>> = {},
    options?: CallOptions,
  ): Promise<invalidation.Published> {
    const how = spec(this.scope, options, { idempotent: true, open: false });
    return removingAll(this.scope.core, () =>
      invalidation.publishEvent(this.scope.core, how, name, attributes),
    );
  }

  /** The keys of the namespace, in no order, a page at a time. Keys of all params are listed. */
  listKeys(options?: listing.ListOptions): AsyncGenerator<listing.ListedKey, void> {
    return listing.listKeys(this.scope, options);
  }

  /** The number of keys that `listKeys` lists. */
  countKeys(options?: Omit<listing.ListOptions, 'pageSize'>): Promise<number> {
    return listing.countKeys(this.scope, options);
  }

  /**
   * The changes of the namespace, as long as the loop runs: invalidations and, with `keys`, all
   * writes. Connections that break are made again; what was missed meanwhile comes first, or else
   * `reset`. The first event is `ready`.
   */
  watch(options?: WatchOptions): AsyncGenerator<Change, void> {
    return watch(this.scope, options);
  }

  /** Makes a call that removes entries. */
  private async removes<R>(named: readonly Key[], call: () => Promise<R>): Promise<R> {
    const keys = new Set(named.map((key) => addressOf(key).key));
    return removing(
      this.scope,
      (feed) => { for (const key of keys) feed.keyChanged(key); },
      (key) => keys.has(key),
      call,
    );
  }

  /** Makes a call that changes one entry. */
  private changes<R>(key: Key, call: () => Promise<R>): Promise<R> {
    if (this.scope.core.feeds.of(this.scope.namespace) === undefined) return call();
    return changing(this.scope, (feed) => feed.keyChanged(addressOf(key).key), call);
  }

  /** Statistics of the namespace in the whole fleet; undefined if there are none yet. */
  async stats(options?: CallOptions): Promise<listing.StatsOfNamespace | undefined> {
    const how = spec(this.scope, options, { idempotent: true, open: false });
    const all = await listing.stats(this.scope.core, how, [this.scope.namespace]);
    return all.namespaces.find(({ namespace }) => namespace === this.scope.namespace);
  }
}
