import { type Codec, DecodeError } from '../index.js';

/**
 * Values of Next.js as JSON: bytes are `{"$bytes": base64}`, a Map is `{"$map": pairs}`, and a name
 * that begins with `$` gets another one.
 */
export const nextCodec: Codec<any> = {
  encode: (value) => ({ kind: 'json', value: JSON.stringify(pack(value)) }),
  decode(encoded) {
    if (encoded.kind !== 'json') throw new DecodeError('not a value of Next.js');
    return unpack(JSON.parse(encoded.value));
  },
};

function pack(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) {
    const { buffer, byteOffset, byteLength } = value;
    return { $bytes: Buffer.from(buffer, byteOffset, byteLength).toString('base64') };
  }
  if (value instanceof Map) return { $map: [...value].map(([key, item]) => [key, pack(item)]) };
  if (Array.isArray(value)) return value.map(pack);
  const packed: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) {
    packed[name.startsWith('$') ? `$${name}` : name] = pack(item);
  }
  return packed;
}

function unpack(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(unpack);
  const { $bytes, $map } = value as { $bytes?: unknown; $map?: unknown };
  if (typeof $bytes === 'string') return Buffer.from($bytes, 'base64');
  if (Array.isArray($map)) return new Map($map.map(([key, item]) => [key, unpack(item)]));
  const unpacked: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) {
    unpacked[name.startsWith('$$') ? name.slice(1) : name] = unpack(item);
  }
  return unpacked;
}
