import { randomBytes } from 'node:crypto';
import { entryId } from '../core/names.js';
import type { Value } from '../gen/larder/v1/cache_service.js';

/** Settings of a namespace of the fake; durations are in milliseconds. */
export interface FakeNamespace {
  /** 30 min. */
  ttl?: number;
  /** 7 d. */
  maxTtl?: number;
  /** How long a value is served past its TTL: 0. */
  staleWhileRevalidate?: number;
  /** After that, how long it takes the place of a value whose computation fails: 0. */
  staleIfError?: number;
  /** 10 s. */
  leaseTtl?: number;
  /** 5 s. */
  leaseWait?: number;
  /** How long no lease is granted after a loader has failed: 1 s. */
  backoff?: number;
  /** 1 MiB. */
  maxValueBytes?: number;
  /** Computes values as the origin of the namespace; null: there is no value. */
  origin?: (key: string, params: Readonly<Record<string, string>>) => unknown;
}

export const DEFAULTS: Required<Omit<FakeNamespace, 'origin'>> = {
  ttl: 30 * 60_000,
  maxTtl: 7 * 86_400_000,
  staleWhileRevalidate: 0,
  staleIfError: 0,
  leaseTtl: 10_000,
  leaseWait: 5000,
  backoff: 1000,
  maxValueBytes: 1024 * 1024,
};

/** An entry of the fake. */
export interface FakeEntry {
  readonly namespace: string;
  readonly key: string;
  readonly params: Readonly<Record<string, string>>;
  readonly schemaVersion: string | undefined;
  /** Undefined: the cached absence of a value. */
  value: Value | undefined;
  version: string;
  tags: string[];
  writtenAt: number;
  freshUntil: number;
  staleUntil: number;
}

/** Where an entry is. */
export interface Place {
  namespace: string;
  key: string;
  params: Readonly<Record<string, string>>;
  /** Version of the client whose entry it is; undefined: none. */
  schemaVersion?: string | undefined;
}

/** One text per entry. */
export function idOf({ namespace, key, params, schemaVersion = '' }: Place): string {
  // Params without members and the shared object without members are equal.
  const named = Object.keys(params).length === 0 ? `=${key}` : entryId(key, { ...params });
  return `${namespace} ${schemaVersion} ${named}`;
}

/** A request whose entries are those of a schema version. */
export function versioned(request: any, schemaVersion: string | undefined): any {
  if (schemaVersion === undefined || request === undefined) return request;
  const own = (place: object) => ({ ...place, schemaVersion });
  const copy = own(request) as Record<string, any>;
  for (const name of ['keys', 'items']) {
    if (Array.isArray(copy[name])) copy[name] = copy[name].map(own);
  }
  copy.targets &&= copy.targets.map(({ target }: any) => ({
    target: target?.$case === 'key' ? { ...target, value: own(target.value) } : target,
  }));
  return copy;
}

/** The entries of the fake, and its clock. */
export class FakeStore {
  readonly entries = new Map<string, FakeEntry>();
  private offset = 0;

  constructor(private readonly namespaces: Readonly<Record<string, FakeNamespace>>) {}

  /** Milliseconds of a clock that runs on and can be advanced. */
  now(): number {
    return performance.now() + this.offset;
  }

  advance(ms: number): void {
    this.offset += ms;
  }

  settings(namespace: string): typeof DEFAULTS & Pick<FakeNamespace, 'origin'> {
    return { ...DEFAULTS, ...this.namespaces[namespace] };
  }

  /** How long an entry is kept past its TTL. */
  staleness(namespace: string): number {
    const { staleWhileRevalidate, staleIfError } = this.settings(namespace);
    return staleWhileRevalidate + staleIfError;
  }

  /** Whether a stale entry is served, rather than only in place of a failure. */
  served({ namespace, freshUntil }: FakeEntry): boolean {
    return this.now() - freshUntil < this.settings(namespace).staleWhileRevalidate;
  }

  /** The entry, if it is within its TTL or one of its stale windows. */
  find(place: Place): { entry: FakeEntry; fresh: boolean } | undefined {
    const id = idOf(place);
    const entry = this.entries.get(id);
    if (entry === undefined) return undefined;
    const now = this.now();
    if (now < entry.freshUntil) return { entry, fresh: true };
    if (now < entry.staleUntil) return { entry, fresh: false };
    this.entries.delete(id);
    return undefined;
  }

  fresh(place: Place): FakeEntry | undefined {
    const found = this.find(place);
    return found?.fresh ? found.entry : undefined;
  }

  put(place: Place, value: Value | undefined, ttl: number | undefined, tags: string[]): FakeEntry {
    const { ttl: standard, maxTtl } = this.settings(place.namespace);
    const writtenAt = this.now();
    const freshUntil = writtenAt + Math.min(ttl ?? standard, maxTtl);
    const entry: FakeEntry = {
      namespace: place.namespace,
      key: place.key,
      params: { ...place.params },
      schemaVersion: place.schemaVersion,
      value: copy(value),
      version: randomBytes(8).toString('hex'),
      tags: [...new Set(tags)].sort(),
      writtenAt,
      freshUntil,
      staleUntil: freshUntil + this.staleness(place.namespace),
    };
    this.entries.set(idOf(place), entry);
    return entry;
  }

  /** The entries of a namespace that have not ended. */
  *of(namespace: string): Generator<FakeEntry> {
    for (const entry of this.entries.values()) {
      if (entry.namespace === namespace && this.find(entry) !== undefined) yield entry;
    }
  }
}

/** Bytes are copied, so that a program that changes its buffer does not change the entry. */
function copy(value: Value | undefined): Value | undefined {
  if (value?.kind?.$case !== 'data') return value;
  return { kind: { $case: 'data', value: new Uint8Array(value.kind.value) } };
}
