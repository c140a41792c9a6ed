import { createHash } from 'node:crypto';
import { isWellFormed } from '../core/names.js';
import { FOREVER, type Namespace } from '../index.js';

/** When a tag was revalidated, in milliseconds since 1970. */
export interface TagState {
  /** Entries from before this time are not served. */
  expired: number;
  /** Entries from before this time are served once more, while they are made again. */
  stale: number;
}

/** Larder takes so many tags per entry; the others are found by their records only. */
const MAX_TAGS = 32;
const MAX_TAG_BYTES = 128;
const NEVER: TagState = { expired: 0, stale: 0 };

/** The tag as Larder has it: a long one is its digest. */
export function larderTag(tag: string): string {
  if (Buffer.byteLength(tag) <= MAX_TAG_BYTES && isWellFormed(tag)) return tag;
  return `#${createHash('sha256').update(tag).digest('hex')}`;
}

/** The tags to store with an entry. */
export function larderTags(tags: readonly string[]): string[] {
  const named = tags.filter((tag) => tag !== '');
  return [...new Set(named)].slice(0, MAX_TAGS).map(larderTag);
}

/**
 * Records of revalidated tags. Next.js has tags that no entry carries (the soft tags, which stand
 * for paths), and tags that are stale before they expire: for both, the time counts.
 */
export class TagRecords {
  constructor(
    /** Entries that carry tags. */
    readonly entries: Namespace<any>,
    /** `expired <tag>` is a time; `stale <tag>` is two of them. */
    readonly records: Namespace<unknown>,
  ) {}

  /**
   * Makes the entries with the tags invalid.
   *
   * @param durations `expire`: seconds for which they are still served, while they are made again;
   * without durations, or with 0, they are not served from now on
   */
  async revalidate(
    tags: readonly string[],
    durations: { expire?: number } | undefined,
  ): Promise<void> {
    const expire = durations?.expire;
    const names = [...new Set(tags)];
    if (names.length === 0) return;
    const now = clock();
    const atOnce = durations === undefined || (expire !== undefined && expire <= 0);
    const values: [string, unknown][] = names.map((tag) =>
      atOnce
        ? [`expired ${tag}`, now]
        : [`stale ${tag}`, { stale: now, expired: endOf(now, expire) }],
    );
    const results = await this.records.setMany(values, { ttl: FOREVER });
    const refused = [...results.values()].find((result) => !result.stored);
    if (refused !== undefined && !refused.stored) {
      throw new Error(`tags: not revalidated: ${refused.reason}`, { cause: refused.error });
    }
    if (atOnce) await this.entries.invalidate({ tags: names.map(larderTag) });
  }

  /** @returns undefined if the records cannot be read: entries with the tags must not be served */
  async state(tags: readonly string[]): Promise<TagState | undefined> {
    if (tags.length === 0) return NEVER;
    const keys = [...new Set(tags)].flatMap((tag) => [`expired ${tag}`, `stale ${tag}`]);
    const results = await this.records.getMany(keys);
    const now = clock();
    const state = { ...NEVER };
    for (const [key, result] of results) {
      if (result.degraded || result.error !== undefined) return undefined;
      if (!result.found) continue;
      if (key.startsWith('expired ')) {
        state.expired = Math.max(state.expired, Number(result.value));
      } else {
        const { stale, expired } = result.value as { stale: number; expired: number | null };
        state.stale = Math.max(state.stale, stale);
        // The time until which stale entries were served has come.
        if (expired !== null && expired <= now) state.expired = Math.max(state.expired, expired);
      }
    }
    return state;
  }
}

/** Now, in milliseconds since 1970, by the clock that Next.js gives to entries. */
export function clock(): number {
  return performance.timeOrigin + performance.now();
}

function endOf(now: number, seconds: number | undefined): number | null {
  return seconds === undefined || !Number.isFinite(seconds) ? null : now + seconds * 1000;
}
