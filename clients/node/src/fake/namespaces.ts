import { checkEvent, checkTags } from '../core/checks.js';
import { fromWire } from '../core/durations.js';
import { invalid } from '../core/errors.js';
import { globMatcher } from '../core/globs.js';
import * as wire from '../gen/larder/v1/cache_service.js';
import { checkKey, checkNamespace, storeUnavailable } from './checks.js';
import { remove } from './entries.js';
import type { FakeLarder } from './larder.js';
import { targetsOf } from './rules.js';
import { idOf } from './store.js';

/** Makes entries unreachable. */
export function invalidate(
  fake: FakeLarder,
  request: wire.InvalidateRequest,
): wire.InvalidateResponse {
  if (request.targets.length === 0) throw invalid('targets', 'must not be empty');
  for (const [index, target] of request.targets.entries()) {
    check(target, `targets[${index}].`);
  }
  if (fake.degraded) throw storeUnavailable();
  const holdOff = fromWire(request.holdOff);
  // An attribute that is missing fails the request before anything is invalidated.
  const selected = request.targets.map(({ target }) => selectedBy(fake, target));
  const results: wire.TargetResult[] = [];
  const events: wire.EventResult[] = [];
  for (const [index, { target }] of request.targets.entries()) {
    const targets = selected[index];
    if (targets !== undefined) {
      const applied = targets.map((each) => {
        return { target: each, result: applyRule(fake, each, holdOff) };
      });
      events.push({ targets: applied });
      results.push(resultOf(applied.some(({ result }) => result.existed), false));
    } else {
      results.push(apply(fake, { target }, holdOff));
    }
  }
  return { results, events, durability: wire.Durability.APPLIED };
}

/** The targets of an event; undefined if it is none. */
function selectedBy(fake: FakeLarder, target: wire.Target['target']): wire.Target[] | undefined {
  if (target?.$case !== 'event') return undefined;
  const { name, attributes } = target.value;
  const rules = Object.hasOwn(fake.events, name) ? fake.events[name] : undefined;
  return rules === undefined ? [] : targetsOf(rules, attributes);
}

function resultOf(existed: boolean, namespaceInvalidated: boolean): wire.TargetResult {
  return {
    existed, namespaceInvalidated, namespaces: [], durability: wire.Durability.APPLIED,
  };
}

function check({ target }: wire.Target, field: string): void {
  switch (target?.$case) {
    case 'namespace':
      checkNamespace(target.value, field);
      break;
    case 'tags':
      checkNamespace(target.value.namespace, `${field}tags.`);
      if (target.value.tags.length === 0) throw invalid(`${field}tags.tags`, 'must not be empty');
      checkTags(target.value.tags, `${field}tags.tags`);
      break;
    case 'pattern':
      checkNamespace(target.value.namespace, `${field}pattern.`);
      globMatcher(target.value.glob, `${field}pattern.glob`);
      break;
    case 'key':
      checkKey(target.value, `${field}key.`);
      break;
    case 'event':
      checkEvent(target.value.name, target.value.attributes, `${field}event.`);
      break;
    default:
      throw invalid(field.slice(0, -1), 'must be set');
  }
}

/** As {@link apply}; a key of a rule concerns its entries with all params and schema versions. */
function applyRule(
  fake: FakeLarder,
  rule: wire.Target,
  holdOff: number | undefined,
): wire.TargetResult {
  if (rule.target?.$case !== 'key') return apply(fake, rule, holdOff);
  const { namespace, key } = rule.target.value;
  const named = [...fake.store.of(namespace)].filter((entry) => entry.key === key);
  for (const entry of named) fake.store.entries.delete(idOf(entry));
  fake.leases.voidWhere(namespace, (each) => each === key);
  fake.leases.holdOff(holdOff, (place) => place.namespace === namespace && place.key === key);
  const value = { namespace, keys: [{ key, paramsDigest: '' }] };
  fake.announce(namespace, { $case: 'keysChanged', value });
  return resultOf(named.length > 0, false);
}

function apply(
  fake: FakeLarder,
  { target }: wire.Target,
  holdOff: number | undefined,
): wire.TargetResult {
  switch (target?.$case) {
    case 'namespace':
      invalidateNamespace(fake, target.value);
      fake.leases.holdOff(holdOff, ({ namespace }) => namespace === target.value);
      return resultOf(false, true);
    case 'tags': {
      const { namespace, tags } = target.value;
      const named = new Set(tags);
      for (const entry of [...fake.store.of(namespace)]) {
        if (entry.tags.some((tag) => named.has(tag))) fake.store.entries.delete(idOf(entry));
      }
      fake.leases.banTags(namespace, tags);
      fake.leases.holdOff(
        holdOff,
        (place, held) => place.namespace === namespace && held.some((tag) => named.has(tag)),
      );
      fake.announce(namespace, { $case: 'tagsInvalidated', value: { namespace, tags } });
      return resultOf(false, false);
    }
    case 'pattern': {
      const { namespace, glob } = target.value;
      const matches = globMatcher(glob);
      for (const entry of [...fake.store.of(namespace)]) {
        if (matches(entry.key)) fake.store.entries.delete(idOf(entry));
      }
      fake.leases.voidWhere(namespace, matches);
      fake.leases.holdOff(
        holdOff, (place) => place.namespace === namespace && matches(place.key),
      );
      fake.announce(namespace, { $case: 'patternInvalidated', value: { namespace, glob } });
      return resultOf(false, false);
    }
    case 'key': {
      const { existed } = remove(fake, {
        ...target.value,
        holdOff: undefined,
        ifVersion: undefined,
        returnValue: false,
        requiredDurability: wire.Durability.UNSPECIFIED,
      });
      const id = idOf(target.value);
      fake.leases.holdOff(holdOff, (place) => idOf(place) === id);
      return resultOf(existed, false);
    }
    default:
      return resultOf(false, false);
  }
}

/** Makes all entries of a namespace unreachable. */
export function invalidateNamespace(fake: FakeLarder, namespace: string): void {
  checkNamespace(namespace);
  if (fake.degraded) throw storeUnavailable();
  for (const entry of [...fake.store.of(namespace)]) fake.store.entries.delete(idOf(entry));
  fake.leases.voidWhere(namespace, () => true);
  fake.count(namespace).invalidations += 1n;
  fake.announce(namespace, { $case: 'namespaceInvalidated', value: { namespace } });
}

const PAGE = 100;
const LARGEST_PAGE = 1000;

function matching(fake: FakeLarder, namespace: string, glob: string): wire.ListedKey[] {
  checkNamespace(namespace);
  const matches = glob === '' ? () => true : globMatcher(glob);
  if (fake.degraded) throw storeUnavailable();
  const keys = [...fake.store.of(namespace)].filter(({ key }) => matches(key));
  // The fake has no digests: a text of the params takes their place.
  return keys.map((entry) => ({
    key: entry.key,
    paramsDigest:
      Object.keys(entry.params).length === 0 && entry.schemaVersion === undefined
        ? ''
        : idOf(entry),
  }));
}

/** A page of keys; the token is the number of keys before it. */
export function listKeys(fake: FakeLarder, request: wire.ListKeysRequest): wire.ListKeysResponse {
  const all = matching(fake, request.namespace, request.glob);
  const from = Number(request.pageToken || 0);
  const size = Math.min(LARGEST_PAGE, request.pageSize || PAGE);
  const more = from + size < all.length;
  return { keys: all.slice(from, from + size), nextPageToken: more ? String(from + size) : '' };
}

export function countKeys(
  fake: FakeLarder,
  request: wire.CountKeysRequest,
): wire.CountKeysResponse {
  const count = BigInt(matching(fake, request.namespace, request.glob).length);
  return { count, nextPageToken: '' };
}
