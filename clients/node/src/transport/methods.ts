import type { BinaryWriter } from '@bufbuild/protobuf/wire';
import * as wire from '../gen/larder/v1/cache_service.js';

/** One call of the service with the functions for its messages. */
export interface Method<Q, R> {
  /** Name in the service, such as `Get`. */
  readonly name: string;
  readonly path: string;
  serialize(request: Q): Buffer;
  deserialize(bytes: Uint8Array): R;
}

interface Message<T> {
  encode(message: T): BinaryWriter;
  decode(bytes: Uint8Array): T;
}

function method<Q, R>(name: string, request: Message<Q>, response: Message<R>): Method<Q, R> {
  return {
    name,
    path: `/larder.v1.CacheService/${name}`,
    serialize(message) {
      const bytes = request.encode(message).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    deserialize: (bytes) => response.decode(bytes),
  };
}

/** The calls that this library makes. */
export const methods = {
  get: method('Get', wire.GetRequest, wire.GetResponse),
  set: method('Set', wire.SetRequest, wire.SetResponse),
  delete: method('Delete', wire.DeleteRequest, wire.DeleteResponse),
  invalidateNamespace: method(
    'InvalidateNamespace',
    wire.InvalidateNamespaceRequest,
    wire.InvalidateNamespaceResponse,
  ),
  invalidate: method('Invalidate', wire.InvalidateRequest, wire.InvalidateResponse),
  stats: method('Stats', wire.StatsRequest, wire.StatsResponse),
  getOrFetch: method('GetOrFetch', wire.GetOrFetchRequest, wire.GetOrFetchResponse),
  batchGetOrFetch: method(
    'BatchGetOrFetch',
    wire.BatchGetOrFetchRequest,
    wire.BatchGetOrFetchResponse,
  ),
  renew: method('Renew', wire.RenewRequest, wire.RenewResponse),
  abandon: method('Abandon', wire.AbandonRequest, wire.AbandonResponse),
  batchGet: method('BatchGet', wire.BatchGetRequest, wire.BatchGetResponse),
  batchSet: method('BatchSet', wire.BatchSetRequest, wire.BatchSetResponse),
  batchDelete: method('BatchDelete', wire.BatchDeleteRequest, wire.BatchDeleteResponse),
  touch: method('Touch', wire.TouchRequest, wire.TouchResponse),
  increment: method('Increment', wire.IncrementRequest, wire.IncrementResponse),
  patch: method('Patch', wire.PatchRequest, wire.PatchResponse),
  listKeys: method('ListKeys', wire.ListKeysRequest, wire.ListKeysResponse),
  countKeys: method('CountKeys', wire.CountKeysRequest, wire.CountKeysResponse),
  watch: method('Watch', wire.WatchRequest, wire.WatchResponse),
} as const;
