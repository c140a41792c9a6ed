import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FOREVER, type Namespace } from '../index.js';
import { clock, larderTags, type TagRecords, type TagState } from './tags.js';

/** Lifetime of a page, in seconds. */
interface CacheControl {
  revalidate: number | false;
  expire: number | undefined;
}

/** A value of Next.js; its other members depend on `kind`. */
interface IncrementalValue {
  readonly kind: string;
}

/** An entry as Next.js reads it. */
export interface IncrementalEntry {
  lastModified: number;
  /** As Next.js gave it. */
  value: any;
  cacheControl?: CacheControl;
}

/** Facts of a call of Next.js. */
interface CallContext {
  kind?: string;
  fetchCache?: boolean;
  tags?: string[];
  softTags?: string[];
  cacheControl?: CacheControl;
}

/** Argument of the constructor, as Next.js gives it. */
export interface HandlerContext {
  dev?: boolean;
  serverDistDir?: string;
  revalidatedTags?: string[];
}

/** A handler for the option `cacheHandler` of Next.js. */
export interface IncrementalHandler {
  get(key: string, context: CallContext): Promise<IncrementalEntry | null>;
  set(key: string, value: IncrementalValue | null, context: CallContext): Promise<void>;
  revalidateTag(tags: string | string[], durations?: { expire?: number }): Promise<void>;
  resetRequestCache(): void;
}

/** Entries and tags of a handler. */
export interface IncrementalStore {
  entries: Namespace<IncrementalEntry>;
  tags: TagRecords;
  onError: (error: unknown) => void;
  /** Version of the pages; by default the id of the build. */
  buildId: string | undefined;
}

/** The header in which Next.js keeps the tags of a page. */
const TAGS_HEADER = 'x-next-cache-tags';

/** Makes the class that Next.js constructs for each request. */
export function incrementalHandler(
  store: IncrementalStore,
): new (context: HandlerContext) => IncrementalHandler {
  const { entries, tags, onError } = store;
  const builds = new Map<string, string | undefined>();

  function buildId(context: HandlerContext): string | undefined {
    if (store.buildId !== undefined) return store.buildId;
    const folder = context.serverDistDir;
    if (folder === undefined) return undefined;
    if (!builds.has(folder)) builds.set(folder, readBuildId(folder));
    return builds.get(folder);
  }

  return class LarderCacheHandler implements IncrementalHandler {
    readonly #context: HandlerContext;

    constructor(context: HandlerContext) {
      this.#context = context;
    }

    async get(key: string, context: CallContext): Promise<IncrementalEntry | null> {
      try {
        return await this.#read(key, context);
      } catch (error) {
        // A page is made again rather than that its request fails.
        onError(error);
        return null;
      }
    }

    async #read(key: string, context: CallContext): Promise<IncrementalEntry | null> {
      const place = this.#place(key, context.kind === 'FETCH');
      if (place === undefined) return null;
      const result = await entries.get(place);
      if (!result.found) return null;
      const entry = result.value;
      const names = tagsOf(entry.value, context);
      if (names.some((tag) => this.#context.revalidatedTags?.includes(tag))) return null;
      const state = await tags.state(names);
      if (state === undefined || state.expired > entry.lastModified) return null;
      return state.stale > entry.lastModified ? staleOf(entry, state) : entry;
    }

    async set(key: string, value: IncrementalValue | null, context: CallContext): Promise<void> {
      const fetched = context.fetchCache === true || value?.kind === 'FETCH';
      const { cacheControl } = context;
      const entry: IncrementalEntry = { lastModified: clock(), value };
      if (cacheControl !== undefined) entry.cacheControl = cacheControl;
      const expire = cacheControl?.expire;
      const ttl = expire === undefined || !Number.isFinite(expire) ? FOREVER : expire * 1000;
      try {
        const place = this.#place(key, fetched);
        if (place === undefined) return;
        const carried = larderTags(tagsOf(value, { ...context, softTags: [] }));
        await entries.set(place, entry, { ttl, tags: carried });
      } catch (error) {
        // A page that is too large is made for each request, as without a cache.
        onError(error);
      }
    }

    async revalidateTag(
      names: string | string[],
      durations?: { expire?: number },
    ): Promise<void> {
      await tags.revalidate(typeof names === 'string' ? [names] : names, durations);
    }

    resetRequestCache(): void {}

    /** Results of `fetch` outlive a build; a page belongs to one, because it names its scripts. */
    #place(key: string, fetched: boolean): string | undefined {
      if (fetched) return `fetch:${key}`;
      const build = buildId(this.#context);
      return build === undefined ? undefined : `page:${build}:${key}`;
    }
  };
}

/** @returns undefined while there is no build yet */
function readBuildId(serverDistDir: string): string | undefined {
  try {
    return readFileSync(join(serverDistDir, '..', 'BUILD_ID'), 'utf8').trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function tagsOf(value: IncrementalValue | null, context: CallContext): string[] {
  const { headers, tags: own = [] } = (value ?? {}) as {
    headers?: Record<string, unknown>;
    tags?: string[];
  };
  const header = headers?.[TAGS_HEADER];
  const ofPage = typeof header === 'string' ? header.split(',') : [];
  const { tags = [], softTags = [] } = context;
  return [...new Set([...ofPage, ...own, ...tags, ...softTags])];
}

/** An entry that Next.js serves once more, and makes again in the background. */
function staleOf(entry: IncrementalEntry, state: TagState): IncrementalEntry {
  if (entry.value?.kind === 'FETCH') return { ...entry, lastModified: 1 };
  // A page is stale after a second since then, which is over.
  const lastModified = Math.min(state.stale, clock() - 2000);
  const expire = entry.cacheControl?.expire;
  return { ...entry, lastModified, cacheControl: { revalidate: 1, expire } };
}
