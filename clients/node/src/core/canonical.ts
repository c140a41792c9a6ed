import { compareUtf8 } from './names.js';

/** A value that has no canonical form; `path` leads to it. */
export class NotCanonical extends Error {
  constructor(
    readonly why: string,
    readonly path: string,
  ) {
    super(`${path}: ${why}`);
    this.name = 'NotCanonical';
  }
}

/** An object that has a canonical form of its own. */
export interface LarderKey {
  /** Returns a value that has a canonical form, such as an id. */
  toLarderKey(): unknown;
}

/** Deepest nesting, which also ends values that contain themselves. */
const MAX_DEPTH = 64;
const TAGS: ReadonlySet<string> = new Set([
  '$bytes', '$datetime', '$date', '$time', '$uuid', '$decimal', '$set',
]);

/**
 * Canonical JSON: equal values have equal text in all languages. No white space, names sorted by
 * their UTF-8, numbers and text as in RFC 8785; types that JSON lacks are objects with one tag.
 *
 * @param path the name of the argument, for the error
 * @throws NotCanonical for a value that cannot be part of a key
 */
export function canonical(value: unknown, path: string): string {
  return encode(value, path, 0);
}

function encode(value: unknown, path: string, depth: number): string {
  switch (typeof value) {
    case 'string':
      return text(value, path);
    case 'boolean':
      return String(value);
    case 'bigint':
      return String(value);
    case 'number':
      if (!Number.isFinite(value)) throw new NotCanonical(`${value} is not a finite number`, path);
      // JavaScript writes numbers as RFC 8785 does, and -0 as 0.
      return JSON.stringify(value);
    case 'object':
      break;
    default:
      throw new NotCanonical(`a value of the type ${typeof value} cannot be part of a key`, path);
  }
  if (value === null) return 'null';
  if (depth > MAX_DEPTH) throw new NotCanonical(`deeper than ${MAX_DEPTH} levels`, path);
  if (typeof (value as Partial<LarderKey>).toLarderKey === 'function') {
    return encode((value as LarderKey).toLarderKey(), path, depth + 1);
  }
  if (value instanceof Date) return tagged('$datetime', dateText(value, path));
  if (value instanceof ArrayBuffer) return tagged('$bytes', Buffer.from(value).toString('base64'));
  if (ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return tagged('$bytes', bytes.toString('base64'));
  }
  if (Array.isArray(value)) {
    const members = Array.from(value, (member, index) =>
      encode(member, `${path}[${index}]`, depth + 1),
    );
    return `[${members.join(',')}]`;
  }
  if (value instanceof Set) {
    const members = [...value].map((member) => encode(member, `${path}{}`, depth + 1));
    return `{"$set":[${members.sort(compareUtf8).join(',')}]}`;
  }
  return object(entriesOf(value, path), path, depth);
}

function entriesOf(value: object, path: string): [string, unknown][] {
  if (value instanceof Map) {
    for (const name of value.keys()) {
      if (typeof name !== 'string') {
        throw new NotCanonical(`its key ${String(name)} is a ${typeof name}, not text`, path);
      }
    }
    return [...value];
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    const name = value.constructor?.name ?? 'object';
    throw new NotCanonical(
      `a ${name} cannot be part of a key: leave the argument out with ignore, or give the class ` +
        'a method toLarderKey',
      path,
    );
  }
  // A member without a value is one that is not there.
  return Object.entries(value).filter(([, member]) => member !== undefined);
}

function object(entries: [string, unknown][], path: string, depth: number): string {
  if (entries.length === 1 && TAGS.has(entries[0]![0])) {
    // It would have the form of another type, hence the key of another call.
    throw new NotCanonical(`a map with the only name ${entries[0]![0]} is reserved`, path);
  }
  const parts = entries
    .sort(([a], [b]) => compareUtf8(a, b))
    .map(([name, member]) => `${text(name, path)}:${encode(member, `${path}.${name}`, depth + 1)}`);
  return `{${parts.join(',')}}`;
}

function text(value: string, path: string): string {
  if (!(value as unknown as { isWellFormed(): boolean }).isWellFormed()) {
    throw new NotCanonical('text that is not valid Unicode', path);
  }
  return JSON.stringify(value);
}

function tagged(tag: string, value: string): string {
  return `{"${tag}":${JSON.stringify(value)}}`;
}

/** An instant in UTC, as other languages write it: with microseconds, if it has a fraction. */
export function dateText(date: Date, path: string): string {
  if (Number.isNaN(date.getTime())) throw new NotCanonical('an invalid date', path);
  const iso = date.toISOString();
  const fraction = iso.slice(-4, -1);
  return `${iso.slice(0, -5)}${fraction === '000' ? '' : `.${fraction}000`}+00:00`;
}
