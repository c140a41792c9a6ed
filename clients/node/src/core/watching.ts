import { ResetReason, type WatchResponse } from '../gen/larder/v1/cache_service.js';
import { methods } from '../transport/methods.js';
import { Silence } from '../transport/transport.js';
import { fromWire, timerDelay } from './durations.js';
import { isOutage, LarderError } from './errors.js';
import { type CallOptions, type Scope } from './scope.js';
import { sleep } from './timers.js';

/**
 * Why changes may be missing; `DISCONNECTED`: the stream broke and could not be continued, or
 * nothing came from the server for too long.
 */
export type ResetCause =
  | 'DISCONNECTED'
  | 'FEED_LOST'
  | 'STORE_UNAVAILABLE'
  | 'STORE_FLUSHED'
  | 'SLOW_READER'
  | 'NOT_RESUMABLE'
  | 'SHUTTING_DOWN'
  | 'UNKNOWN';

/** A change in a namespace. */
export type Change =
  /** All changes arrive from now on. `resumed`: none was missed since the last event. */
  | { readonly type: 'ready'; readonly resumed: boolean }
  /** All entries are invalid. */
  | { readonly type: 'namespace' }
  /** The entries with any of these tags are invalid. */
  | { readonly type: 'tags'; readonly tags: readonly string[] }
  /** The entries whose key matches are invalid. */
  | { readonly type: 'pattern'; readonly glob: string }
  /** Entries were written or removed. Only with `keys`. */
  | { readonly type: 'keys'; readonly keys: readonly ChangedKey[] }
  /** Changes may be missing until the next `ready`: what is derived from entries is invalid. */
  | { readonly type: 'reset'; readonly cause: ResetCause };

/** An entry that was written or removed. */
export interface ChangedKey {
  readonly key: string;
  /** Digest of the params and the schema versions; empty if there are none. */
  readonly paramsDigest: string;
}

/** Options of `watch`. */
export interface WatchOptions extends Omit<CallOptions, 'timeout'> {
  /** Also deliver the keys of entries that are written or removed. */
  keys?: boolean;
}

/** What a stream delivers. */
export type Signal =
  | Exclude<Change, { type: 'ready' }>
  /** As the change; `silence`: milliseconds without a message after which the stream is dead. */
  | { readonly type: 'ready'; readonly resumed: boolean; readonly silence: number }
  /** The stream is alive. */
  | { readonly type: 'alive' }
  /** The stream is broken and may be continued. */
  | { readonly type: 'broken' };

const CAUSES: Partial<Record<ResetReason, ResetCause>> = {
  [ResetReason.FEED_LOST]: 'FEED_LOST',
  [ResetReason.STORE_UNAVAILABLE]: 'STORE_UNAVAILABLE',
  [ResetReason.STORE_FLUSHED]: 'STORE_FLUSHED',
  [ResetReason.SLOW_READER]: 'SLOW_READER',
  [ResetReason.NOT_RESUMABLE]: 'NOT_RESUMABLE',
  [ResetReason.SHUTTING_DOWN]: 'SHUTTING_DOWN',
};
const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 3000;
/** How long the first message may take. */
const READY_MS = 5000;

/** The state of a stream over its connections. */
export class WatchState {
  resumeToken = new Uint8Array(0);
  /** Milliseconds without a message after which the stream counts as dead. */
  silence = READY_MS;

  /** The signal of a message. */
  read(message: WatchResponse): Signal {
    const { event } = message;
    switch (event?.$case) {
      case 'ready': {
        const { resumeToken, resumed, maxDelay, heartbeat } = event.value;
        this.resumeToken = new Uint8Array(resumeToken);
        this.silence = (fromWire(heartbeat) ?? READY_MS) + (fromWire(maxDelay) ?? 0);
        return { type: 'ready', resumed, silence: this.silence };
      }
      case 'heartbeat':
        this.resumeToken = new Uint8Array(event.value.resumeToken);
        return { type: 'alive' };
      case 'namespaceInvalidated':
        return { type: 'namespace' };
      case 'tagsInvalidated':
        return { type: 'tags', tags: event.value.tags };
      case 'patternInvalidated':
        return { type: 'pattern', glob: event.value.glob };
      case 'keysChanged':
        return { type: 'keys', keys: event.value.keys };
      case 'reset':
        return { type: 'reset', cause: CAUSES[event.value.reason] ?? 'UNKNOWN' };
      default:
        // An event of a later release: what it invalidates is not known.
        return { type: 'reset', cause: 'UNKNOWN' };
    }
  }
}

/** When the last message came. */
class LastMessage {
  private steady = performance.now();
  private wall = Date.now();

  /** Milliseconds since then. Either clock may have stood still while the process was frozen. */
  get age(): number {
    return Math.max(performance.now() - this.steady, Date.now() - this.wall);
  }

  now(): void {
    this.steady = performance.now();
    this.wall = Date.now();
  }
}

/**
 * The signals of a namespace, over as many connections as it takes. Ends when the signal is
 * aborted; throws mistakes. A break is `broken`, because the stream may be continued; without a
 * message for as long as the server has stated it is `reset`.
 *
 * @param quiet whether the stream does not keep the process running
 */
export async function* follow(
  scope: Scope<any>,
  keys: boolean,
  signal: AbortSignal,
  quiet: boolean,
): AsyncGenerator<Signal, void> {
  const state = new WatchState();
  const last = new LastMessage();
  const { transport } = scope.core.caller;
  let backoff = FIRST_BACKOFF_MS;
  // Whether the token was refused, so that another was asked for.
  let refused = false;
  // Whether what the reader holds is valid, unless the silence lasts too long.
  let valid = false;
  const remaining = () => (valid ? Math.max(0, state.silence - last.age) : Infinity);
  while (!signal.aborted) {
    const connection = new AbortController();
    const stop = () => connection.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    let timer: NodeJS.Timeout | undefined;
    const expectMessage = (ms: number) => {
      clearTimeout(timer);
      timer = setTimeout(() => connection.abort(SILENT), timerDelay(ms));
      if (quiet) timer.unref();
    };
    try {
      const request = { namespaces: [scope.namespace], keys, resumeToken: state.resumeToken };
      const attempt = { timeout: undefined, signal: connection.signal, headers: undefined };
      const stream = quiet
        ? transport.feed(methods.watch, request, attempt)
        : transport.stream(methods.watch, request, attempt);
      expectMessage(Math.min(READY_MS, remaining()));
      for await (const message of stream) {
        clearTimeout(timer);
        if (remaining() === 0) throw SILENT;
        const read = state.read(message);
        if (read.type === 'ready') backoff = FIRST_BACKOFF_MS;
        refused = false;
        if (read.type === 'ready' || read.type === 'reset') valid = read.type === 'ready';
        yield read;
        // While the reader is busy the stream is not expected to deliver.
        last.now();
        expectMessage(state.silence);
      }
    } catch (error) {
      if (signal.aborted) return;
      const renews: boolean = isRefusal(error) && transport.renewsToken && !refused;
      if (error !== SILENT && !isOutage(error) && !renews) throw error;
      refused = renews;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      connection.abort(signal.reason);
    }
    yield { type: 'broken' };
    const pause = backoff * (0.5 + Math.random() * 0.5);
    backoff = Math.min(LONGEST_BACKOFF_MS, backoff * 2);
    try {
      await sleep(Math.min(pause, remaining()), signal, quiet);
      if (remaining() === 0) {
        valid = false;
        yield { type: 'reset', cause: 'DISCONNECTED' };
        await sleep(pause, signal, quiet);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      return;
    }
  }
}

const SILENT = new Silence('the stream is silent');

function isRefusal(error: unknown): boolean {
  return error instanceof LarderError && error.code === 'UNAUTHENTICATED';
}

/** The changes in a namespace: see `Namespace.watch`. */
export async function* watch(
  scope: Scope<any>,
  options: WatchOptions | undefined,
): AsyncGenerator<Change, void> {
  scope.core.caller.checkOpen();
  const ending = scope.core.running.open(options?.signal);
  let valid = false;
  try {
    for await (const each of follow(scope, options?.keys ?? false, ending.signal, false)) {
      if (each.type === 'alive' || each.type === 'broken') continue;
      if (each.type === 'ready' && !each.resumed && valid) {
        yield { type: 'reset', cause: 'DISCONNECTED' };
      }
      valid = each.type !== 'reset';
      yield each.type === 'ready' ? { type: 'ready', resumed: each.resumed } : each;
    }
    options?.signal?.throwIfAborted();
  } finally {
    scope.core.running.end(ending);
  }
}
