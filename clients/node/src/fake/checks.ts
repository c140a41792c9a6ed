import { invalid, larderError, type LarderError } from '../core/errors.js';
import type { Value } from '../gen/larder/v1/cache_service.js';
import { fromWire } from '../core/durations.js';

type WireDuration = Parameters<typeof fromWire>[0];

/** Milliseconds of a field that must be positive when it is set. */
export function positiveField(value: WireDuration, field: string): number | undefined {
  const ms = fromWire(value);
  if (ms !== undefined && ms <= 0) throw invalid(field, 'must be positive');
  return ms;
}

/** The limits of a key. */
export function checkKey(
  { namespace, key, params }: {
    namespace: string; key: string; params: Readonly<Record<string, string>>;
  },
  field = '',
): void {
  checkNamespace(namespace, field);
  if (key === '') throw invalid(`${field}key`, 'must not be empty');
  if (Buffer.byteLength(key) > 1024) throw invalid(`${field}key`, 'is too long');
  if (Object.keys(params).length > 64) throw invalid(`${field}params`, 'has too many pairs');
}

export function checkNamespace(namespace: string, field = ''): void {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(namespace)) {
    throw invalid(`${field}namespace`, 'is not a name of a namespace');
  }
}

/** The limits of a value. */
export function checkValue(value: Value | undefined, limit: number, namespace: string): void {
  const kind = value?.kind;
  if (kind === undefined) throw invalid('value', 'must be set');
  const bytes = kind.$case === 'data' ? kind.value.length : Buffer.byteLength(kind.value);
  if (bytes > limit) {
    const why = `value is ${bytes} bytes long, the limit of namespace ${namespace} is ${limit}`;
    throw larderError('RESOURCE_EXHAUSTED', why, {
      reason: 'VALUE_TOO_LARGE',
      metadata: { field: 'value', limit: String(limit) },
    });
  }
  if (kind.$case !== 'json') return;
  try {
    JSON.parse(kind.value);
  } catch (error) {
    throw invalid('value.json', `is not valid JSON: ${(error as Error).message}`);
  }
}

/** The error of a call while the store is away. */
export function storeUnavailable(): LarderError {
  return larderError('UNAVAILABLE', 'the store does not answer', {
    reason: 'STORE_UNAVAILABLE',
    retryAfter: 1000,
  });
}
