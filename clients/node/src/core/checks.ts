import type { Duration as WireDuration } from '../gen/google/protobuf/duration.js';
import { type Duration, span, toWire } from './durations.js';
import { invalid } from './errors.js';
import { isWellFormed } from './names.js';

/*
 * Limits that no operator can change. They are checked before a call, so that a mistake is the same
 * error whether the server is there or not.
 */
const MAX_TAGS = 32;
const MAX_TAG_BYTES = 128;
const MAX_HOLD_OFF_MS = 3_600_000;
const MAX_EVENT_NAME_BYTES = 255;
const MAX_ATTRIBUTES = 64;
const MAX_ATTRIBUTE_NAME_BYTES = 128;
const MAX_ATTRIBUTE_BYTES = 1024;

/**
 * A list from an argument.
 *
 * @throws TypeError if it is text, which would be a list of letters, or no list
 */
export function listOf<T>(values: Iterable<T> | undefined, name: string): T[] {
  if (values === undefined) return [];
  if (typeof values === 'string') throw new TypeError(`${name}: expected a list, got text`);
  if (typeof (values as Iterable<T> | null)?.[Symbol.iterator] !== 'function') {
    throw new TypeError(`${name}: expected a list, got ${kindOf(values)}`);
  }
  return [...values];
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : typeof value;
}

/** Checks each tag. */
export function checkEachTag(tags: readonly string[], field = 'tags'): void {
  for (const [index, tag] of tags.entries()) {
    if (typeof tag !== 'string') {
      throw new TypeError(`${field}[${index}]: expected text, got ${kindOf(tag)}`);
    }
    if (!isWellFormed(tag)) throw new TypeError(`${field}[${index}]: not valid Unicode`);
    if (tag === '') throw invalid(`${field}[${index}]`, 'must not be empty');
    const bytes = Buffer.byteLength(tag);
    if (bytes > MAX_TAG_BYTES) {
      throw invalid(`${field}[${index}]`, `is ${bytes} bytes long, the limit is ${MAX_TAG_BYTES}`);
    }
  }
}

/** Checks the tags of an entry. */
export function checkTags(tags: readonly string[], field = 'tags'): void {
  if (tags.length > MAX_TAGS) {
    throw invalid(field, `has ${tags.length} elements, the limit is ${MAX_TAGS}`);
  }
  checkEachTag(tags, field);
}

/** The message of a hold-off. */
export function holdOffToWire(holdOff: Duration | undefined): WireDuration | undefined {
  if (holdOff === undefined) return undefined;
  const ms = span(holdOff, 'holdOff');
  if (ms > MAX_HOLD_OFF_MS) {
    throw new RangeError(`holdOff: at most 1 h is possible, got ${String(holdOff)}`);
  }
  return toWire(ms);
}

/** Checks an event of the business. */
export function checkEvent(
  name: string,
  attributes: Readonly<Record<string, string>>,
  field = '',
): void {
  if (typeof name !== 'string') throw new TypeError(`name: expected text, got ${kindOf(name)}`);
  if (name === '') throw invalid(`${field}name`, 'must be set');
  const bytes = Buffer.byteLength(name);
  if (bytes > MAX_EVENT_NAME_BYTES) {
    throw invalid(`${field}name`, `is ${bytes} bytes long, the limit is ${MAX_EVENT_NAME_BYTES}`);
  }
  if (/\p{Cc}/u.test(name)) throw invalid(`${field}name`, 'must not have control characters');
  const pairs = Object.entries(attributes);
  if (pairs.length > MAX_ATTRIBUTES) {
    const why = `has ${pairs.length} elements, the limit is ${MAX_ATTRIBUTES}`;
    throw invalid(`${field}attributes`, why);
  }
  for (const [attribute, value] of pairs) {
    if (attribute === '') throw invalid(`${field}attributes`, 'must not have an empty name');
    if (Buffer.byteLength(attribute) > MAX_ATTRIBUTE_NAME_BYTES) {
      throw invalid(`${field}attributes`, `has a name over ${MAX_ATTRIBUTE_NAME_BYTES} bytes`);
    }
    if (typeof value !== 'string') {
      throw new TypeError(`attributes.${attribute}: expected text, got ${kindOf(value)}`);
    }
    if (Buffer.byteLength(value) > MAX_ATTRIBUTE_BYTES) {
      const why = `is over the limit of ${MAX_ATTRIBUTE_BYTES} bytes`;
      throw invalid(`${field}attributes.${attribute}`, why);
    }
  }
}

const OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  add: ['value'],
  remove: [],
  replace: ['value'],
  move: ['from'],
  copy: ['from'],
  test: ['value'],
};

/** Checks the form of the operations of a JSON patch (RFC 6902). */
export function checkJsonPatch(operations: unknown): void {
  if (!Array.isArray(operations)) {
    throw new TypeError(`jsonPatch: expected a list of operations, got ${kindOf(operations)}`);
  }
  for (const [index, operation] of operations.entries()) {
    const field = `jsonPatch[${index}]`;
    const given = operation as Record<string, unknown> | null;
    if (given === null || typeof given !== 'object') {
      throw new TypeError(`${field}: expected an operation, got ${kindOf(operation)}`);
    }
    const members = Object.hasOwn(OPERATIONS, String(given.op))
      ? OPERATIONS[String(given.op)]
      : undefined;
    if (members === undefined) {
      const names = Object.keys(OPERATIONS).join(', ');
      throw invalid(`${field}.op`, `must be one of ${names}, got ${String(given.op)}`);
    }
    for (const pointer of ['path', ...members.filter((member) => member === 'from')]) {
      const text = given[pointer];
      if (typeof text !== 'string' || (text !== '' && !text.startsWith('/'))) {
        throw invalid(`${field}.${pointer}`, 'must be a JSON Pointer, such as /name');
      }
    }
    if (members.includes('value') && given.value === undefined) {
      throw invalid(`${field}.value`, 'must be set');
    }
  }
}
