/** Client of Larder, a cache for services in every language. */
export { Client, type NamespaceOptions } from './core/client.js';
export type { ClientOptions, OnError, Preset } from './core/options.js';
export { Namespace } from './core/namespace.js';
export type { CallOptions, Key } from './core/scope.js';
export type { Params } from './core/names.js';
export type { GetOptions, ReadOptions } from './core/reads.js';
export type { FetchManyOptions } from './core/fetch-many.js';
export type { FetchOptions } from './core/fetching.js';
export {
  loaded, Loaded, type LoadContext, type LoadedMany, type LoadedOptions, type Loader,
  type ManyLoader,
} from './core/loaders.js';
export type { Entries, SetOptions, WriteOptions } from './core/writes.js';
export type {
  DeleteOptions, IncrementOptions, PatchOf, PatchOptions,
} from './core/changes.js';
export type { InvalidateOptions, Published, Targets } from './core/invalidation.js';
export type { Change, ChangedKey, ResetCause, WatchOptions } from './core/watching.js';
export type { NearCacheOptions } from './core/near-cache.js';
export type { ListedKey, ListOptions, Stats, StatsOfNamespace } from './core/listing.js';
export { type Duration, FOREVER } from './core/durations.js';
export type { Logger } from './core/caller.js';
export type { CounterName, Counts } from './core/counters.js';
export type { Token, TokenProvider } from './transport/credentials.js';
export type { Transport } from './transport/transport.js';
export {
  autoCodec, bytesCodec, checked, type Codec, type Encoded, jsonCodec, structuredCodec, textCodec,
} from './core/codecs.js';
export {
  Aborted, type Code, DeadlineExceeded, DecodeError, EncodeError, FailedPrecondition,
  InvalidArgument, LarderError, NotFound, PermissionDenied, ResourceExhausted, Unauthenticated,
  Unavailable, Unimplemented,
} from './core/errors.js';
export type {
  Deleted, Hit, Incremented, Invalidated, Miss, Negative, NotStored, NotStoredReason, Patched,
  Result, Stale, Stored, Tier, Touched, WriteResult,
} from './core/results.js';
export { VERSION } from './core/version.js';
export {
  cached, type Cached, cachedMany, type CachedManyOptions, type CachedOptions, type ManyValues,
} from './core/cached.js';
export type { CallKey, CallKeyOptions } from './core/call-keys.js';
export { canonical, type LarderKey, NotCanonical } from './core/canonical.js';
