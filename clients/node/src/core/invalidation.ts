import {
  Durability,
  type EventResult,
  type Target,
} from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import type { CallSpec } from './caller.js';
import { checkEachTag, checkEvent, holdOffToWire, listOf } from './checks.js';
import type { Duration } from './durations.js';
import type { Invalidated } from './results.js';
import {
  addressOf, BATCH_KEYS, type CallOptions, chunks, type Core, type Key, type Scope, spec,
} from './scope.js';

/** Entries to invalidate. */
export interface Targets {
  /** Entries with any of these tags. */
  tags?: Iterable<string>;
  /** Entries whose key matches: `*`, `?`, `[a-z]`, with any params. */
  globs?: Iterable<string>;
  /** These entries. */
  keys?: Iterable<Key>;
}

/** Options of `invalidate`. */
export interface InvalidateOptions extends CallOptions {
  /** Rejects fills of what the targets match for this long. */
  holdOff?: Duration;
}

/** Result of an event. */
export interface Published {
  /** Targets that the rules of the server have selected. */
  readonly targets: number;
  /** Whether any of them is in the journal, and applied when the store is back. */
  readonly queued: boolean;
}

const TAGS_PER_TARGET = 32;

/** The targets as lists. */
export interface TargetLists {
  tags: string[];
  globs: string[];
  keys: Key[];
}

/** The targets as lists. @throws TypeError if one of them is not a list */
export function listed({ tags, globs, keys }: Targets): TargetLists {
  const named = listOf(tags, 'tags');
  checkEachTag(named);
  return { tags: named, globs: listOf(globs, 'globs'), keys: listOf(keys, 'keys') };
}

/** Makes entries unreachable. More than 1,000 targets are several calls. */
export async function invalidate(
  scope: Scope<any>,
  { keys, tags: named, globs }: TargetLists,
  options: InvalidateOptions | undefined,
): Promise<Invalidated> {
  const { namespace } = scope;
  const targets: Target[] = [];
  for (const key of keys) {
    targets.push({ target: { $case: 'key', value: { namespace, ...addressOf(key) } } });
  }
  for (const tags of chunks(named, TAGS_PER_TARGET)) {
    targets.push({ target: { $case: 'tags', value: { namespace, tags } } });
  }
  for (const glob of globs) {
    targets.push({ target: { $case: 'pattern', value: { namespace, glob } } });
  }
  const holdOff = holdOffToWire(options?.holdOff);
  const existed: boolean[] = [];
  let queued = false;
  let namespaceInvalidated = false;
  for (const part of chunks(targets, BATCH_KEYS)) {
    const answer = await scope.core.caller.unary(
      methods.invalidate,
      { targets: part, holdOff, requiredDurability: Durability.UNSPECIFIED },
      spec(scope, options, { idempotent: true, open: false }),
    );
    queued ||= answer.durability === Durability.QUEUED;
    for (const result of answer.results) {
      if (existed.length < keys.length) existed.push(result.existed);
      namespaceInvalidated ||= result.namespaceInvalidated;
    }
  }
  return { queued, namespaceInvalidated, existed };
}

/** Makes all entries of the namespace unreachable. */
export async function invalidateNamespace(
  scope: Scope<any>,
  options: CallOptions | undefined,
): Promise<Invalidated> {
  const answer = await scope.core.caller.unary(
    methods.invalidateNamespace,
    {
      namespace: scope.namespace,
      requiredDurability: Durability.UNSPECIFIED,
    },
    spec(scope, options, { idempotent: true, open: false }),
  );
  const queued = answer.durability === Durability.QUEUED;
  return { queued, namespaceInvalidated: true, existed: [] };
}

/** Invalidates what the rules of the server select for an event. */
export async function publishEvent(
  core: Core,
  how: CallSpec,
  name: string,
  attributes: Readonly<Record<string, string>>,
): Promise<Published> {
  checkEvent(name, attributes);
  const event: Target = { target: { $case: 'event', value: { name, attributes } } };
  const answer = await core.caller.unary(
    methods.invalidate,
    {
      targets: [event],
      holdOff: undefined,
      requiredDurability: Durability.UNSPECIFIED,
    },
    how,
  );
  const targets = answer.events.reduce((sum: number, each: EventResult) => {
    return sum + each.targets.length;
  }, 0);
  return { targets, queued: answer.durability === Durability.QUEUED };
}
