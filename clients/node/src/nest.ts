import { LarderStore, type LarderStoreOptions } from './keyv.js';
import type { Duration } from './index.js';
import { milliseconds } from './core/durations.js';

/** Options of {@link larderCacheModule}. */
export interface LarderCacheModuleOptions extends LarderStoreOptions {
  /** Namespace of Larder; `nest` by default. */
  namespace?: string;
  /** Lifetime of values without one of their own. None: as long as the server permits. */
  ttl?: Duration;
  /** `CacheModule` serves all modules. */
  isGlobal?: boolean;
}

/** The part of a Keyv that is needed to make one. */
export type KeyvClass<Store> = new (options: {
  store: LarderStore;
  namespace: string;
  ttl?: number;
  throwOnErrors?: boolean;
}) => Store;

/**
 * Options for `CacheModule.register` of `@nestjs/cache-manager`:
 * `CacheModule.register(larderCacheModule(Keyv, { client, ttl: '5m' }))`.
 *
 * @param Keyv the class of the package `keyv`, release 5, that the application has
 */
export function larderCacheModule<Store>(
  Keyv: KeyvClass<Store>,
  options: LarderCacheModuleOptions = {},
): { stores: Store[]; ttl?: number; isGlobal?: boolean } {
  const { namespace = 'nest', ttl, isGlobal, ...rest } = options;
  const store = new LarderStore(rest);
  return {
    stores: [new Keyv({ store, namespace })],
    ...(ttl === undefined ? {} : { ttl: milliseconds(ttl, 'ttl') }),
    ...(isGlobal === undefined ? {} : { isGlobal }),
  };
}
