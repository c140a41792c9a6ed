/** Values, durations and expectations of the cases, as clients/conformance/README.md has them. */

export type Bound = Map<string, unknown>;
export type Fields = Record<string, unknown>;

const DURATION = /^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)$/;
const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Fields of a result that are durations. */
const TIMES = new Set(['ttl', 'ttl_remaining', 'age', 'retry_after']);
/** Tolerance of durations, in milliseconds. */
const CLOSE = 1.5;

/** An object that cannot be part of a key. */
class Opaque {
  readonly socket = new AbortController();
}

/** A result that is not as expected. */
export class Mismatch extends Error {}

/** The milliseconds of a duration such as `250ms`; undefined for anything else. */
export function milliseconds(text: unknown): number | undefined {
  const found = typeof text === 'string' ? DURATION.exec(text) : null;
  return found === null ? undefined : Number(found[1]) * UNITS[found[2]!]!;
}

export function isMap(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    && !(value instanceof Uint8Array);
}

function numbered(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, number) => `${prefix}${number}`);
}

const TAGS: Record<string, (given: any, bound: Bound) => unknown> = {
  $bytes: (given) => Buffer.from(given, 'base64'),
  $int: (given) => BigInt(given),
  $number: (given) => ({ nan: Number.NaN, inf: Infinity, '-inf': -Infinity })[given as 'nan'],
  $repeat: ([text, times]) => text.repeat(times),
  $concat: (given, bound) => given.map((part: unknown) => expand(part, bound)).join(''),
  $keys: ([prefix, count]) => numbered(prefix, count),
  $keys_sorted: ([prefix, count]) => numbered(prefix, count).sort(),
  $params: ([prefix, count, value]) =>
    Object.fromEntries(numbered(prefix, count).map((name) => [name, value])),
  $items: ({ prefix, count, value }, bound) =>
    Object.fromEntries(numbered(prefix, count).map((name) => [name, expand(value, bound)])),
  $raw: (given) => given,
  $callable: (given) => () => given,
  $var: (given, bound) => bound.get(given),
  $set: (given) => new Set(given),
  $datetime: (given) => new Date(given),
  $opaque: () => new Opaque(),
  $own_form: (given) => ({ toLarderKey: () => given }),
};
const MATCHERS = new Set(['$between', '$any', '$not', '$has', '$begins', '$exactly']);

function tagOf(value: unknown): string | undefined {
  if (!isMap(value)) return undefined;
  const names = Object.keys(value);
  return names.length === 1 ? names[0] : undefined;
}

/** The value that a tagged form such as `{$bytes: ...}` stands for. */
export function expand(value: unknown, bound: Bound): any {
  if (Array.isArray(value)) return value.map((item) => expand(item, bound));
  if (!isMap(value)) return value === '$each' ? bound.get('$each') : value;
  const tag = tagOf(value);
  if (tag !== undefined && tag in TAGS) return TAGS[tag]!(value[tag], bound);
  const made: Fields = {};
  for (const [name, item] of Object.entries(value)) {
    // An assignment of `__proto__` would not make a field.
    Object.defineProperty(made, name, {
      value: expand(item, bound), enumerable: true, configurable: true, writable: true,
    });
  }
  return made;
}

/** Equality of values, in which integers are equal to those of other types. */
export function same(expected: unknown, actual: unknown): boolean {
  if (typeof expected === 'bigint' || typeof actual === 'bigint') {
    const whole = (value: unknown) => typeof value === 'bigint' || Number.isInteger(value);
    if (!whole(expected) || !whole(actual)) return false;
    return BigInt(expected as number) === BigInt(actual as number);
  }
  if (expected instanceof Uint8Array || actual instanceof Uint8Array) {
    return expected instanceof Uint8Array && actual instanceof Uint8Array
      && Buffer.compare(expected, actual) === 0;
  }
  if (Array.isArray(expected)) {
    return Array.isArray(actual) && expected.length === actual.length
      && expected.every((item, index) => same(item, actual[index]));
  }
  if (isMap(expected) && isMap(actual)) {
    const names = Object.keys(expected);
    return names.length === Object.keys(actual).length
      && names.every((name) => Object.hasOwn(actual, name) && same(expected[name], actual[name]));
  }
  return expected === actual;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value, (_, item) =>
    typeof item === 'bigint' ? `${item}n` : item) ?? String(value);
  return text.length <= 200 ? text : `${text.slice(0, 200)}... (${text.length} characters)`;
}

function amount(value: unknown): number {
  const found = milliseconds(value) ?? value;
  if (typeof found !== 'number') throw new Mismatch(`${shown(value)} is not a number`);
  return found;
}

function matchBy(tag: string, given: any, actual: unknown, place: string, bound: Bound): void {
  if (tag === '$between') {
    const [low, high] = given;
    const found = amount(actual);
    if (found >= amount(low) - CLOSE && found <= amount(high) + CLOSE) return;
    throw new Mismatch(`${place}: ${shown(actual)} is not between ${low} and ${high}`);
  }
  const fit: Record<string, () => boolean> = {
    $any: () => actual !== undefined && actual !== null && actual !== '',
    $not: () => !same(expand(given, bound), actual),
    $has: () => (actual as string | undefined)?.includes(expand(given, bound)) === true,
    $begins: () => typeof actual === 'string' && actual.startsWith(given),
    $exactly: () => same(expand(given, bound), actual ?? {}),
  };
  if (!fit[tag]!()) {
    throw new Mismatch(`${place}: ${shown(actual)} does not fit ${tag} ${shown(given)}`);
  }
}

/** Throws `Mismatch` unless a result is as expected: a map names some of the fields. */
export function match(expected: unknown, actual: unknown, place: string, bound: Bound): void {
  const tag = tagOf(expected);
  if (tag !== undefined && MATCHERS.has(tag)) {
    return matchBy(tag, (expected as Fields)[tag], actual, place, bound);
  }
  const field = place.slice(place.lastIndexOf('.') + 1);
  if (TIMES.has(field) && milliseconds(expected) !== undefined) {
    return matchBy('$between', [expected, expected], actual, place, bound);
  }
  if (field === 'class') {
    // A class and those that it extends.
    if ((actual as string[] | undefined)?.includes(expected as string)) return;
    throw new Mismatch(`${place}: ${shown(actual)} does not have ${shown(expected)}`);
  }
  const tagged = tag !== undefined && tag in TAGS;
  if (field !== 'value' && isMap(expected) && !tagged) {
    if (!isMap(actual)) throw new Mismatch(`${place}: ${shown(actual)} has no fields`);
    for (const [name, item] of Object.entries(expected)) {
      match(item, actual[name], `${place}.${name}`, bound);
    }
    return;
  }
  const wanted = expand(expected, bound);
  if (field !== 'value' && Array.isArray(wanted) && wanted.some(isMap)) {
    if (!Array.isArray(actual) || actual.length !== wanted.length) {
      throw new Mismatch(`${place}: ${shown(actual)}, not ${shown(wanted)}`);
    }
    wanted.forEach((item, index) => match(item, actual[index], `${place}.${index}`, bound));
    return;
  }
  if (!same(wanted, actual ?? null)) {
    throw new Mismatch(`${place}: ${shown(actual)}, not ${shown(wanted)}`);
  }
}

/** Whether a result is as expected. */
export function fits(expected: unknown, actual: unknown, bound: Bound): boolean {
  try {
    match(expected, actual, 'result', bound);
    return true;
  } catch (error) {
    if (error instanceof Mismatch) return false;
    throw error;
  }
}

/** Checks the result of a step. Results of several calls are a list or a map by key. */
export function matchStep(expected: Fields, actual: any, bound: Bound): void {
  if (!Array.isArray(actual) && !isMap(actual?.results)) {
    return match(expected, actual, 'result', bound);
  }
  const every: unknown[] = Array.isArray(actual) ? actual : Object.values(actual.results);
  for (const [name, item] of Object.entries(expected)) {
    if (name === 'count') match(item, every.length, 'count', bound);
    else if (name === 'all') every.forEach((one, at) => match(item, one, `result ${at}`, bound));
    else if (name === 'results') match(item, actual.results, 'results', bound);
    else if (name === 'matching') {
      for (const { count, of } of item as { count: number; of: unknown }[]) {
        const found = every.filter((one) => fits(of, one, bound)).length;
        match(count, found, `number of ${shown(of)}`, bound);
      }
    } else throw new Error(`no expectation ${name} of several results`);
  }
}
