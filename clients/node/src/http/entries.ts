import { createHash } from 'node:crypto';
import type { Codec } from '../index.js';
import { DecodeError } from '../index.js';

/** Headers by their names in lower case; several values of a name are joined. */
export type Headers = Record<string, string | undefined>;

/** Status and headers of an answer. */
export interface Head {
  status: number;
  headers: Record<string, string>;
}

/** An answer. */
export interface StoredResponse extends Head {
  kind: 'response';
  body: Buffer;
}

/** Content of an entry. */
export type Stored =
  | StoredResponse
  /** Answers of this URL must not be cached: requests do not wait for each other. */
  | { kind: 'pass' }
  /** Answers of this URL depend on these headers: each variant is an entry of its own. */
  | { kind: 'vary'; names: string[] }
  /** The computation was given up; never stored. */
  | { kind: 'retry' };

/** An answer is the length of its head in 4 bytes, the head as JSON, and the body. */
export const codec: Codec<Stored> = {
  encode(stored) {
    if (stored.kind !== 'response') return { kind: 'json', value: JSON.stringify(stored) };
    const { status, headers, body } = stored;
    const head = Buffer.from(JSON.stringify({ status, headers }));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(head.length);
    return { kind: 'data', value: Buffer.concat([length, head, body]) };
  },
  decode(encoded) {
    if (encoded.kind === 'json') return marker(JSON.parse(encoded.value));
    if (encoded.kind !== 'data') throw new DecodeError('expected an answer, got text');
    const { buffer, byteOffset, byteLength } = encoded.value;
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    const end = 4 + bytes.readUInt32BE(0);
    if (end > bytes.length) throw new DecodeError('an answer without its body');
    const { status, headers } = JSON.parse(bytes.toString('utf8', 4, end)) as Head;
    if (typeof status !== 'number' || typeof headers !== 'object' || headers === null) {
      throw new DecodeError('not an answer');
    }
    return { kind: 'response', status, headers, body: bytes.subarray(end) };
  },
};

function marker(value: { kind?: unknown; names?: unknown } | null): Stored {
  if (value?.kind === 'pass') return { kind: 'pass' };
  const { names } = value ?? {};
  if (value?.kind === 'vary' && Array.isArray(names)) {
    return { kind: 'vary', names: names.map(String) };
  }
  throw new DecodeError('not an answer');
}

/** The ETag of a body. It is weak, because what is between may encode the body. */
export function entityTag(body: Buffer): string {
  const digest = createHash('sha256').update(body).digest('base64url').slice(0, 22);
  return `W/"${body.length.toString(16)}-${digest}"`;
}
