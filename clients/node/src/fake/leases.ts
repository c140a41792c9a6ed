import { randomBytes } from 'node:crypto';
import { RenewResult, SetResult } from '../gen/larder/v1/cache_service.js';
import { type FakeStore, idOf, type Place } from './store.js';

/** Why a lease is no longer held. */
export type Lost = 'LEASE_LOST' | 'INVALIDATED' | 'SUPERSEDED';

interface FakeLease {
  readonly token: string;
  readonly place: Place;
  expiresAt: number;
  /** Tags that were invalidated since it was granted: values with them are refused. */
  readonly banned: Set<string>;
}

interface HoldOff {
  readonly until: number;
  concerns(place: Place, tags: readonly string[]): boolean;
}

export const SET_LOST = {
  LEASE_LOST: SetResult.LEASE_LOST,
  INVALIDATED: SetResult.INVALIDATED,
  SUPERSEDED: SetResult.SUPERSEDED,
} as const;

export const RENEW_LOST = {
  LEASE_LOST: RenewResult.LEASE_LOST,
  INVALIDATED: RenewResult.INVALIDATED,
  SUPERSEDED: RenewResult.SUPERSEDED,
} as const;

/** Ended leases whose reason is remembered. */
const REMEMBERED = 10_000;

/** The leases of the fake, and the callers that wait for them. */
export class FakeLeases {
  private readonly held = new Map<string, FakeLease>();
  private readonly ended = new Map<string, Lost>();
  private readonly waiters = new Map<string, Set<() => void>>();
  private readonly backoffs = new Map<string, { until: number; cause: string }>();
  private holdOffs: HoldOff[] = [];

  constructor(private readonly store: FakeStore) {}

  /** Whether somebody computes the value. */
  busy(place: Place): boolean {
    const lease = this.held.get(idOf(place));
    if (lease === undefined) return false;
    if (this.store.now() < lease.expiresAt) return true;
    this.end(lease, 'LEASE_LOST');
    return false;
  }

  /** The back-off after a failed computation. */
  backoff(place: Place): { remaining: number; cause: string } | undefined {
    const backoff = this.backoffs.get(idOf(place));
    if (backoff === undefined) return undefined;
    const remaining = backoff.until - this.store.now();
    if (remaining > 0) return { remaining, cause: backoff.cause };
    this.backoffs.delete(idOf(place));
    return undefined;
  }

  grant(place: Place): { token: Buffer; expiresIn: number } {
    const { leaseTtl } = this.store.settings(place.namespace);
    const token = randomBytes(16);
    this.held.set(idOf(place), {
      token: token.toString('hex'),
      place,
      expiresAt: this.store.now() + leaseTtl,
      banned: new Set(),
    });
    return { token, expiresIn: leaseTtl };
  }

  /** Why a fill of the lease is refused; undefined: it is not. */
  refusal(place: Place, token: Uint8Array, tags: readonly string[]): Lost | undefined {
    const hex = Buffer.from(token).toString('hex');
    const lease = this.held.get(idOf(place));
    if (!this.busy(place) || lease?.token !== hex) return this.ended.get(hex) ?? 'LEASE_LOST';
    if (tags.some((tag) => lease.banned.has(tag))) return 'INVALIDATED';
    const now = this.store.now();
    this.holdOffs = this.holdOffs.filter(({ until }) => until > now);
    return this.holdOffs.some((each) => each.concerns(place, tags)) ? 'INVALIDATED' : undefined;
  }

  /** Extends the lease. */
  renew(place: Place, token: Uint8Array): { lost: Lost } | { expiresIn: number } {
    const lost = this.refusal(place, token, []);
    if (lost !== undefined) return { lost };
    const { leaseTtl } = this.store.settings(place.namespace);
    this.held.get(idOf(place))!.expiresAt = this.store.now() + leaseTtl;
    return { expiresIn: leaseTtl };
  }

  /** Releases the lease: with a back-off, or for the next caller. */
  abandon(place: Place, token: Uint8Array, reason: string, passOn: boolean): void {
    const lease = this.held.get(idOf(place));
    if (lease?.token !== Buffer.from(token).toString('hex')) return;
    if (!passOn) {
      const { backoff } = this.store.settings(place.namespace);
      const cause = Buffer.from(reason).toString('utf8', 0, 96);
      this.backoffs.set(idOf(place), { until: this.store.now() + backoff, cause });
    }
    this.end(lease, 'LEASE_LOST');
  }

  /** The entry was written, deleted or invalidated: its lease is void. */
  void(place: Place, why: Lost): void {
    const lease = this.held.get(idOf(place));
    if (lease !== undefined) this.end(lease, why);
    this.backoffs.delete(idOf(place));
  }

  /** Voids the leases of a namespace for which `concerns` is true. */
  voidWhere(namespace: string, concerns: (key: string) => boolean): void {
    for (const lease of [...this.held.values()]) {
      if (lease.place.namespace === namespace && concerns(lease.place.key)) {
        this.end(lease, 'INVALIDATED');
      }
    }
  }

  banTags(namespace: string, tags: readonly string[]): void {
    for (const lease of this.held.values()) {
      if (lease.place.namespace === namespace) for (const tag of tags) lease.banned.add(tag);
    }
  }

  /** Rejects fills for a while. */
  holdOff(ms: number | undefined, concerns: HoldOff['concerns']): void {
    if (ms !== undefined && ms > 0) this.holdOffs.push({ until: this.store.now() + ms, concerns });
  }

  private end(lease: FakeLease, why: Lost): void {
    const id = idOf(lease.place);
    this.held.delete(id);
    this.ended.set(lease.token, why);
    if (this.ended.size > REMEMBERED) {
      const [oldest] = this.ended.keys();
      this.ended.delete(oldest!);
    }
    this.wake(id);
  }

  /** Callers look again: something has changed. */
  wake(id?: string): void {
    const woken = id === undefined ? [...this.waiters.values()] : [this.waiters.get(id) ?? []];
    for (const waiters of woken) for (const waiter of [...waiters]) waiter();
  }

  /** Waits until something changes for the entry, the lease expires, or `ms` are over. */
  wait(place: Place, ms: number, signal: AbortSignal | undefined): Promise<void> {
    const id = idOf(place);
    const lease = this.held.get(id);
    const expires = lease === undefined ? ms : lease.expiresAt - this.store.now();
    return new Promise((resolve, reject) => {
      const waiters = this.waiters.get(id) ?? new Set();
      this.waiters.set(id, waiters);
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        waiters.delete(done);
        if (waiters.size === 0) this.waiters.delete(id);
        resolve();
      };
      const abort = () => {
        // First: the end of the wait would resolve it.
        reject(signal!.reason);
        done();
      };
      const timer = setTimeout(done, Math.max(0, Math.min(ms, expires)) + 1);
      waiters.add(done);
      signal?.addEventListener('abort', abort);
      if (signal?.aborted) abort();
    });
  }
}
