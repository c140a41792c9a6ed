import {
  type Lease,
  RenewResult,
  type SetRequest,
  type SetResponse,
  type Value,
} from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import { listOf } from './checks.js';
import { toValue } from './codecs.js';
import { fromWire, milliseconds, timerDelay, toWire } from './durations.js';
import { isOutage, LarderError } from './errors.js';
import { changing } from './feed.js';
import type { Loaded, LoadedOptions } from './loaders.js';
import { compareUtf8 } from './names.js';
import { notStored, type NotStoredReason, type WriteResult } from './results.js';
import { type Address, type Scope, spec } from './scope.js';
import { tagsOf, type WriteOptions, writeResult } from './writes.js';

const LOST: Partial<Record<RenewResult, NotStoredReason>> = {
  [RenewResult.LEASE_LOST]: 'LEASE_LOST',
  [RenewResult.INVALIDATED]: 'INVALIDATED',
  [RenewResult.SUPERSEDED]: 'SUPERSEDED',
};
const MAX_REASON_BYTES = 256;
/** The shortest time between two renewals, whatever the server says. */
const MIN_RENEWAL_MS = 10;

/**
 * Checks how a value is to be cached, also if it cannot be: a mistake is the same error with and
 * without a server.
 *
 * @throws TypeError or InvalidArgument for a TTL or tags that no server takes
 */
export function checkCaching(
  scope: Scope<any>,
  options: WriteOptions<any> | undefined,
  loaded?: LoadedOptions,
): void {
  for (const ttl of [options?.ttl, loaded?.ttl]) if (ttl !== undefined) milliseconds(ttl, 'ttl');
  valueTags(scope, options, loaded);
}

/** All tags of a computed value, sorted as those of an entry that is read. */
export function valueTags(
  scope: Scope<any>,
  options: WriteOptions<any> | undefined,
  loaded?: LoadedOptions,
): string[] {
  const { tags } = loaded ?? {};
  const own = [...listOf(options?.tags, 'tags'), ...listOf(tags, 'tags')];
  return [...tagsOf(scope, own)].sort(compareUtf8);
}

/** What a fill has come to, or the request that is still to be sent. */
export type Fill =
  | { readonly done: WriteResult; readonly then: 'abandon' | 'delete' | 'nothing' }
  | { readonly request: SetRequest };

/** A lease that this process holds. It is renewed until `release`. */
export class HeldLease {
  private timer: NodeJS.Timeout | undefined;
  private lost: NotStoredReason | undefined;
  private released = false;

  constructor(
    private readonly scope: Scope<any>,
    private readonly address: Address,
    private readonly lease: Lease,
  ) {
    this.schedule(fromWire(lease.expiresIn) ?? 0);
  }

  private schedule(expiresIn: number): void {
    if (this.released) return;
    const delay = timerDelay(Math.max(MIN_RENEWAL_MS, expiresIn / 3));
    this.timer = setTimeout(() => void this.renew(expiresIn), delay).unref();
  }

  private async renew(expiresIn: number): Promise<void> {
    let next = expiresIn;
    try {
      const answer = await this.scope.core.caller.unary(
        methods.renew,
        { namespace: this.scope.namespace, ...this.address, leaseToken: this.lease.token },
        this.spec(),
      );
      if (this.released) return;
      this.lost = LOST[answer.result];
      if (this.lost !== undefined) return;
      next = fromWire(answer.expiresIn) ?? expiresIn;
    } catch (error) {
      // The lease may still be held: the next renewal, or the fill, finds out.
      if (!(error instanceof LarderError)) {
        // Nothing waits for a renewal.
        this.scope.core.logger?.warn(`larder: a lease is not renewed: ${String(error)}`);
        return;
      }
      if (error.reason === 'CLIENT_CLOSED') return;
    }
    this.schedule(next);
  }

  private spec() {
    return spec({ ...this.scope, raise: false }, undefined, { idempotent: true, open: false });
  }

  /** Ends the renewals. */
  release(): void {
    this.released = true;
    clearTimeout(this.timer);
  }

  /** The fill of a value: a request, or why there is none. */
  fill<T>(value: Loaded<T>, options: WriteOptions<T> | undefined): Fill {
    if (value.options.store === false) {
      return { done: notStored('NOT_STORED'), then: 'abandon' };
    }
    const given = value.options.ttl ?? options?.ttl;
    const ttl = given === undefined ? this.scope.ttl : milliseconds(given, 'ttl');
    if (ttl !== undefined && ttl <= 0) return { done: notStored('EXPIRED'), then: 'delete' };
    if (this.lost !== undefined) return { done: notStored(this.lost), then: 'nothing' };
    let encoded: Value;
    try {
      encoded = toValue((options?.codec ?? this.scope.codec).encode(value.value));
    } catch (error) {
      // The value is the caller's, also after an error of the codec.
      return { done: notStored('NOT_ENCODABLE', false, error), then: 'abandon' };
    }
    return {
      request: {
        namespace: this.scope.namespace,
        ...this.address,
        value: encoded,
        ttl: ttl === undefined ? undefined : toWire(ttl),
        tags: valueTags(this.scope, options, value.options),
        condition: undefined,
        leaseToken: this.lease.token,
      },
    };
  }

  /** Gives the lease up. Without a `reason`, the next caller receives it at once. */
  abandon(reason?: string): void {
    this.release();
    const request = {
      namespace: this.scope.namespace,
      ...this.address,
      leaseToken: this.lease.token,
      reason: cut(reason ?? ''),
      passOn: reason === undefined,
    };
    this.part(this.scope.core.caller.unary(methods.abandon, request, this.parting()));
  }

  /** Removes the entry, which also ends the lease. */
  delete(): void {
    const request = {
      namespace: this.scope.namespace,
      ...this.address,
      holdOff: undefined,
      ifVersion: undefined,
      returnValue: false,
      requiredDurability: 0 as const,
    };
    const call = changing(this.scope, (feed) => feed.keyChanged(this.address.key), () =>
      this.scope.core.caller.unary(methods.delete, request, this.parting()),
    );
    this.part(call);
  }

  /** These calls have a deadline of their own, and are made although the callers have left. */
  private parting() {
    return { ...this.spec(), parting: true };
  }

  private part(call: Promise<unknown>): void {
    // Without this call the lease ends by itself. Its error is counted.
    this.scope.core.background.track(call);
  }
}

function cut(reason: string): string {
  const bytes = Buffer.from(reason, 'utf8');
  if (bytes.length <= MAX_REASON_BYTES) return reason;
  let end = MAX_REASON_BYTES;
  while ((bytes[end]! & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}

/** The name of an error's type: the reason of an abandoned lease. */
export function errorName(error: unknown): string {
  if (error instanceof Error) return error.name || error.constructor.name;
  return typeof error;
}

/** Counts a fill that was refused. */
export function filled(scope: Scope<any>, answer: SetResponse): WriteResult {
  const result = writeResult(answer);
  if (!result.stored) scope.count.fills_refused += 1;
  return result;
}

/**
 * The result of a fill that has failed: the loader's value is the caller's all the same, also with
 * `onError: 'raise'`. A mistake is logged, because nothing throws it.
 */
export function unfilled(scope: Scope<any>, error: unknown): WriteResult {
  if (!(error instanceof LarderError)) throw error;
  scope.count.fills_refused += 1;
  const away: boolean = isOutage(error);
  if (away) {
    scope.count.fail_open += 1;
    return notStored('UNAVAILABLE', true, error);
  }
  // Large values may come again and again: the counter and the result have them.
  if (error.reason !== 'VALUE_TOO_LARGE' && error.reason !== 'CLIENT_CLOSED') {
    scope.core.logger?.warn(
      `larder: a computed value of ${scope.namespace} is not stored: ${error.message}`,
      { code: error.code, reason: error.reason, namespace: scope.namespace },
    );
  }
  return notStored('NOT_STORED', false, error);
}
