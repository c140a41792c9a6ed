import { createHash } from 'node:crypto';

/** Names and values that make several entries of one key, such as query parameters. */
export type Params = Readonly<Record<string, string>> | ReadonlyMap<string, string>;

const PLAIN_NAMESPACE = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const MAX_KEY_BYTES = 1024;
const KEPT_KEY_BYTES = 900;
const MAX_PARAMS = 64;
const MAX_PARAM_BYTES = 8 * 1024;
const LONE_SURROGATE = /\p{Surrogate}/u;
/** The one object for requests without params: they are most requests. */
const NO_PARAMS: Record<string, string> = Object.freeze(Object.create(null));

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

/** The name of a namespace as the server has it: clients/README.md, "Names". */
export function encodeNamespace(name: string): string {
  if (typeof name !== 'string') throw new TypeError(`namespace: expected text, got ${typeof name}`);
  if (name === '') throw new TypeError('namespace: must not be empty');
  if (PLAIN_NAMESPACE.test(name) && !name.startsWith('x--')) return name;
  if (LONE_SURROGATE.test(name)) throw new TypeError('namespace: not valid Unicode');
  let head = '';
  let characters = 0;
  for (const character of name) {
    if (characters === 40) break;
    characters += 1;
    const lower = character >= 'A' && character <= 'Z' ? character.toLowerCase() : character;
    head += /^[a-z0-9._-]$/.test(lower) ? lower : '-';
  }
  return `x--${head}-${sha256(name).slice(0, 16)}`;
}

/** A key as the server has it: a long one is cut and ends with its digest. */
export function encodeKey(key: string): string {
  if (typeof key !== 'string') throw new TypeError(`key: expected text, got ${typeof key}`);
  if (key === '') throw new TypeError('key: must not be empty');
  // A character takes at most three bytes per UTF-16 unit, so that a short key needs no count.
  if (key.length * 3 <= MAX_KEY_BYTES) {
    if (!isWellFormed(key)) throw new TypeError('key: not valid Unicode');
    return key;
  }
  if (!isWellFormed(key)) throw new TypeError('key: not valid Unicode');
  const bytes = Buffer.from(key, 'utf8');
  if (bytes.length <= MAX_KEY_BYTES) return key;
  let end = KEPT_KEY_BYTES;
  while ((bytes[end]! & 0xc0) === 0x80) end -= 1;
  return `${bytes.toString('utf8', 0, end)}#${sha256(key)}`;
}

/** Whether text can be UTF-8. */
export function isWellFormed(text: string): boolean {
  return (text as unknown as { isWellFormed(): boolean }).isWellFormed();
}

/** Params as the server has them: more than it takes become one digest. */
export function encodeParams(params: Params | undefined): Record<string, string> {
  if (params === undefined) return NO_PARAMS;
  const pairs = params instanceof Map ? [...params] : Object.entries(params);
  if (pairs.length === 0) return NO_PARAMS;
  let bytes = 0;
  for (const [name, value] of pairs) {
    if (typeof name !== 'string' || name === '') {
      throw new TypeError('params: a name must be text that is not empty');
    }
    if (typeof value !== 'string') {
      throw new TypeError(`params.${name}: expected text, got ${typeof value}`);
    }
    if (!isWellFormed(name) || !isWellFormed(value)) {
      throw new TypeError(`params.${name}: not valid Unicode`);
    }
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  const encoded: Record<string, string> = Object.create(null);
  if (pairs.length > MAX_PARAMS || bytes > MAX_PARAM_BYTES) {
    encoded.digest = digest(pairs as [string, string][]);
  } else {
    for (const [name, value] of pairs) encoded[name] = value;
  }
  return encoded;
}

/** Compares text by its UTF-8, which differs from JavaScript's order by UTF-16 units. */
export function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a, 'utf8'), Buffer.from(b, 'utf8'));
}

function digest(pairs: [string, string][]): string {
  const hash = createHash('sha256');
  const length = Buffer.alloc(8);
  for (const pair of [...pairs].sort(([a], [b]) => compareUtf8(a, b))) {
    for (const text of pair) {
      const bytes = Buffer.from(text, 'utf8');
      length.writeBigUInt64BE(BigInt(bytes.length));
      hash.update(length).update(bytes);
    }
  }
  return hash.digest('hex');
}

/** One text per entry of a namespace; equal params in another order give the same text. */
export function entryId(key: string, params: Record<string, string>): string {
  if (params === NO_PARAMS) return `=${key}`;
  const pairs = Object.entries(params).sort(([a], [b]) => (a < b ? -1 : 1));
  return `#${key.length}:${key}${JSON.stringify(pairs)}`;
}
