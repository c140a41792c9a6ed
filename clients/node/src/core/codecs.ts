import { createHmac, timingSafeEqual } from 'node:crypto';
import { deserialize, serialize } from 'node:v8';
import type { Value } from '../gen/larder/v1/cache_service.js';
import { DecodeError, EncodeError } from './errors.js';
import { isWellFormed } from './names.js';

/** A value as it is sent: text, bytes, or one JSON document. */
export type Encoded =
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'data'; readonly value: Uint8Array }
  | { readonly kind: 'json'; readonly value: string };

/** Turns values into what is sent, and back. */
export interface Codec<T = unknown> {
  /** @throws EncodeError if the value cannot be sent */
  encode(value: T): Encoded;
  /** @throws any error if the value cannot be read, which makes it a miss */
  decode(encoded: Encoded): T;
}

/** The server refuses JSON with more arrays and objects within each other. */
const MAX_DEPTH = 128;

function place(path: readonly (string | number)[]): string {
  let text = 'value';
  for (const part of path) {
    text += typeof part === 'number' ? `[${part}]` : `.${part}`;
  }
  return text;
}

function refuse(message: string, path: readonly (string | number)[]): never {
  throw new EncodeError(message, place(path));
}

/** Refuses what JSON.stringify would change silently. `path` is the way to `value`. */
function check(value: unknown, path: (string | number)[]): void {
  switch (typeof value) {
    case 'string':
      if (!isWellFormed(value)) refuse('text that is not valid Unicode', path);
      return;
    case 'boolean':
      return;
    case 'number':
      if (!Number.isFinite(value)) refuse(`${value} is not a number of JSON`, path);
      return;
    case 'object':
      break;
    default:
      refuse(`a ${typeof value} cannot be JSON`, path);
  }
  if (value === null) return;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    refuse('bytes within another value: encode them as text, or use a codec', path);
  }
  if (path.length >= MAX_DEPTH) refuse(`more than ${MAX_DEPTH} levels, or a cycle`, path);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      path.push(index);
      check(value[index], path);
      path.pop();
    }
    return;
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return;
  if (value instanceof Map || value instanceof Set) {
    refuse(`a ${value.constructor.name} cannot be JSON`, path);
  }
  for (const name in value) {
    const member = (value as Record<string, unknown>)[name];
    // A member without a value is left out, as JSON.stringify does.
    if (member === undefined) continue;
    path.push(name);
    if (!isWellFormed(name)) refuse('a name that is not valid Unicode', path);
    check(member, path);
    path.pop();
  }
}

/** JSON without white space, for a value that JSON represents completely. */
export function toJson(value: unknown): string {
  check(value, []);
  const text = JSON.stringify(value);
  if (text === undefined) refuse('its toJSON returns nothing', []);
  return text;
}

function asBytes(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  return undefined;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function textValue(value: string): Encoded {
  if (!isWellFormed(value)) refuse('text that is not valid Unicode', []);
  return { kind: 'text', value };
}

/** Text as text, bytes as bytes (read as `Buffer`), everything else as JSON. The default. */
export const autoCodec: Codec<any> = {
  encode(value) {
    if (typeof value === 'string') return textValue(value);
    const bytes = asBytes(value);
    if (bytes !== undefined) return { kind: 'data', value: bytes };
    return { kind: 'json', value: toJson(value) };
  },
  decode(encoded) {
    if (encoded.kind === 'json') return JSON.parse(encoded.value);
    return encoded.kind === 'text' ? encoded.value : asBuffer(encoded.value);
  },
};

/** Everything as JSON, text included. Reads JSON and text only. */
export const jsonCodec: Codec<any> = {
  encode: (value) => ({ kind: 'json', value: toJson(value) }),
  decode(encoded) {
    if (encoded.kind === 'data') throw new DecodeError('expected JSON, got bytes');
    return encoded.kind === 'json' ? JSON.parse(encoded.value) : encoded.value;
  },
};

/** Text only. */
export const textCodec: Codec<string> = {
  encode(value) {
    if (typeof value !== 'string') refuse(`expected text, got ${typeof value}`, []);
    return textValue(value);
  },
  decode(encoded) {
    if (encoded.kind !== 'text') throw new DecodeError(`expected text, got ${encoded.kind}`);
    return encoded.value;
  },
};

/** Bytes only. */
export const bytesCodec: Codec<Uint8Array> = {
  encode(value) {
    const bytes = asBytes(value);
    if (bytes === undefined) refuse(`expected bytes, got ${typeof value}`, []);
    return { kind: 'data', value: bytes };
  },
  decode(encoded) {
    if (encoded.kind !== 'data') throw new DecodeError(`expected bytes, got ${encoded.kind}`);
    return asBuffer(encoded.value);
  },
};

/**
 * Checks what is read, for example with a schema: a value for which `parse` throws is a miss.
 *
 * @param parse returns the value, or throws
 * @param codec reads and writes the value that `parse` takes
 */
export function checked<T>(parse: (value: unknown) => T, codec: Codec = autoCodec): Codec<T> {
  return {
    encode: (value) => codec.encode(value),
    decode: (encoded) => parse(codec.decode(encoded)),
  };
}

/**
 * Values of JavaScript such as Map, Set, Date and bigint, in the format of `structuredClone`. They
 * are signed, and one with another signature is a miss. Other languages cannot read them.
 *
 * @param secret at least 16 bytes, the same in all processes
 */
export function structuredCodec({ secret }: { secret: string | Uint8Array }): Codec<any> {
  if (Buffer.byteLength(secret as string) < 16) {
    throw new TypeError('secret: expected at least 16 bytes');
  }
  const sign = (bytes: Uint8Array) => createHmac('sha256', secret).update(bytes).digest();
  return {
    encode(value) {
      let bytes: Buffer;
      try {
        bytes = serialize(value);
      } catch (error) {
        throw new EncodeError(error instanceof Error ? error.message : String(error), 'value');
      }
      return { kind: 'data', value: Buffer.concat([sign(bytes), bytes]) };
    },
    decode(encoded) {
      if (encoded.kind !== 'data' || encoded.value.length < 32) {
        throw new DecodeError('not a signed value');
      }
      const all = asBuffer(encoded.value);
      const bytes = all.subarray(32);
      if (!timingSafeEqual(sign(bytes), all.subarray(0, 32))) {
        throw new DecodeError('the signature is wrong');
      }
      return deserialize(bytes);
    },
  };
}

/** The message of a value. */
export function toValue(encoded: Encoded): Value {
  return { kind: { $case: encoded.kind, value: encoded.value } } as Value;
}

/** The value of a message. */
export function fromValue(value: Value | undefined): Encoded {
  const kind = value?.kind;
  if (kind === undefined) throw new DecodeError('a value of a kind that is not known');
  return { kind: kind.$case, value: kind.value } as Encoded;
}

/** Bytes that a value takes. */
export function encodedSize(encoded: Encoded): number {
  return encoded.kind === 'data' ? encoded.value.length : Buffer.byteLength(encoded.value);
}
