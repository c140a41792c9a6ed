import { type ClientSource, connectionOf, warn } from './adapters/support.js';
import { incrementalHandler, type IncrementalEntry } from './next/incremental.js';
import type { HandlerContext, IncrementalHandler } from './next/incremental.js';
import { TagRecords } from './next/tags.js';
import { entryCodec, type StoredEntry, useCacheHandler } from './next/use-cache.js';
import type { UseCacheHandler } from './next/use-cache.js';
import { nextCodec } from './next/values.js';

export type { HandlerContext, IncrementalEntry, IncrementalHandler } from './next/incremental.js';
export type { UseCacheEntry, UseCacheHandler } from './next/use-cache.js';

/** Options of the handlers for Next.js. */
export interface LarderNextOptions extends ClientSource {
  /** Namespace of Larder; `next` by default. The times of tags are in another, with `-tags`. */
  namespace?: string;
  /** Errors that requests do not see. By default they are warnings of the process. */
  onError?: (error: unknown) => void;
}

/** Options of {@link createCacheHandler}. */
export interface LarderCacheHandlerOptions extends LarderNextOptions {
  /** Version of the pages; by default the id of the build. */
  buildId?: string;
}

/**
 * A handler for `cacheHandlers` of Next.js 16, that is, for `use cache`. The module that the
 * configuration names exports it: `export default createUseCacheHandler()`.
 *
 * At an outage reads are misses; `updateTags` rejects.
 */
export function createUseCacheHandler(options: LarderNextOptions = {}): UseCacheHandler {
  const { client } = connectionOf(options);
  const name = options.namespace ?? 'next';
  const entries = client.namespace<StoredEntry>(name, { codec: entryCodec, onError: 'open' });
  const records = client.namespace<unknown>(`${name}-tags`, { onError: 'open' });
  const tags = new TagRecords(entries, records);
  return useCacheHandler(entries, tags, options.onError ?? warn);
}

/**
 * The class for `cacheHandler` of Next.js, that is, for pages and results of `fetch`:
 * `export default createCacheHandler()`.
 *
 * At an outage reads are misses; `revalidateTag` rejects.
 */
export function createCacheHandler(
  options: LarderCacheHandlerOptions = {},
): new (context: HandlerContext) => IncrementalHandler {
  const { client } = connectionOf(options);
  const name = options.namespace ?? 'next';
  const entries = client.namespace<IncrementalEntry>(name, { codec: nextCodec, onError: 'open' });
  const records = client.namespace<unknown>(`${name}-tags`, { onError: 'open' });
  const tags = new TagRecords(entries, records);
  const { buildId, onError = warn } = options;
  return incrementalHandler({ entries, tags, onError, buildId });
}
