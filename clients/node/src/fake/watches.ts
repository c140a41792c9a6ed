import { toWire } from '../core/durations.js';
import { invalid, larderError } from '../core/errors.js';
import { ResetReason, type WatchRequest, type WatchResponse }
  from '../gen/larder/v1/cache_service.js';

type Event = NonNullable<WatchResponse['event']>;

interface Watcher {
  readonly namespaces: ReadonlySet<string>;
  readonly keys: boolean;
  readonly events: Event[];
  broken: boolean;
  wake(): void;
}

const HEARTBEAT_MS = 1000;
const MAX_DELAY_MS = 1000;
/** Events that a slow reader may have outstanding. */
const MAX_EVENTS = 10_000;
const NO_TOKEN = new Uint8Array(0);

/** The streams of Watch of the fake. They cannot be resumed: each begins with an empty cache. */
export class FakeWatches {
  private readonly watchers = new Set<Watcher>();

  announce(namespace: string, event: Event): void {
    for (const watcher of this.watchers) {
      if (!watcher.namespaces.has(namespace)) continue;
      if (event.$case === 'keysChanged' && !watcher.keys) continue;
      this.send(watcher, event);
    }
  }

  disturb(how: 'break' | 'reset'): void {
    for (const watcher of this.watchers) {
      if (how === 'break') {
        watcher.broken = true;
        watcher.wake();
      } else {
        this.reset(watcher, ResetReason.STORE_FLUSHED);
      }
    }
  }

  private reset(watcher: Watcher, reason: ResetReason): void {
    watcher.events.push({ $case: 'reset', value: { reason } }, ready());
    watcher.wake();
  }

  private send(watcher: Watcher, event: Event): void {
    if (watcher.events.length >= MAX_EVENTS) {
      watcher.events.length = 0;
      this.reset(watcher, ResetReason.SLOW_READER);
    } else {
      watcher.events.push(event);
      watcher.wake();
    }
  }

  async *open(
    request: WatchRequest,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<WatchResponse, void> {
    if (request.namespaces.length === 0) throw invalid('namespaces', 'must not be empty');
    let wake = () => {};
    const watcher: Watcher = {
      namespaces: new Set(request.namespaces),
      keys: request.keys,
      events: [ready()],
      broken: false,
      wake: () => wake(),
    };
    this.watchers.add(watcher);
    const onAbort = () => wake();
    signal?.addEventListener('abort', onAbort);
    const heart = setInterval(() => {
      this.send(watcher, { $case: 'heartbeat', value: { resumeToken: NO_TOKEN } });
    }, HEARTBEAT_MS).unref();
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (watcher.broken) throw larderError('UNAVAILABLE', 'the stream is broken');
        const event = watcher.events.shift();
        if (event !== undefined) {
          yield { event };
          continue;
        }
        await new Promise<void>((resolve) => { wake = resolve; });
      }
    } finally {
      clearInterval(heart);
      signal?.removeEventListener('abort', onAbort);
      this.watchers.delete(watcher);
    }
  }
}

function ready(): Event {
  return {
    $case: 'ready',
    value: {
      resumeToken: NO_TOKEN,
      resumed: false,
      maxDelay: toWire(MAX_DELAY_MS),
      heartbeat: toWire(HEARTBEAT_MS),
    },
  };
}
