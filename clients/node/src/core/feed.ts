import { InvalidArgument } from './errors.js';
import { globMatcher } from './globs.js';
import type { Core, Scope } from './scope.js';
import { follow, type Signal } from './watching.js';

/** Learns what is not valid any more. */
export interface Listener {
  /** Entries with this key, with any params. */
  keyChanged(key: string): void;
  /** Entries for which `concerns` is true. */
  matching(concerns: (key: string, tags: readonly string[]) => boolean): void;
  /** All entries. */
  clear(): void;
}

/** Milliseconds until a feed that the server has refused is tried again. */
const RETRY_MS = 60_000;

/** The changes of a namespace for its near caches, from Watch and from writes of this client. */
export class Feed {
  /** Near caches end with their handles: a program may make a handle for each request. */
  private readonly listeners = new Set<WeakRef<Listener>>();
  private readonly ended = new FinalizationRegistry<WeakRef<Listener>>((listener) => {
    this.listeners.delete(listener);
    if (this.listeners.size === 0) this.leave();
  });
  private ready = false;
  private silence = 0;
  private heard = { steady: 0, wall: 0 };
  private running: AbortController | undefined;
  private startAt = Number.NEGATIVE_INFINITY;
  private refused = false;

  /** @param onLeft called when no near cache is left */
  constructor(
    private readonly scope: Scope<any>,
    private readonly onLeft: () => void,
  ) {}

  listen(listener: Listener): void {
    const reference = new WeakRef(listener);
    this.listeners.add(reference);
    this.ended.register(listener, reference);
  }

  private leave(): void {
    this.onLeft();
    this.running?.abort();
  }

  private each(call: (listener: Listener) => void): void {
    for (const reference of this.listeners) {
      const listener = reference.deref();
      if (listener !== undefined) call(listener);
    }
  }

  /** Whether all changes arrive, by the steady clock. */
  live(now: number): boolean {
    if (!this.ready) {
      if (this.running === undefined && now >= this.startAt) this.start();
      return false;
    }
    // Either clock may have stood still while the process was frozen.
    const silent = Math.max(now - this.heard.steady, Date.now() - this.heard.wall);
    if (silent <= this.silence) return true;
    this.ready = false;
    this.clear();
    return false;
  }

  /** Opens the stream at the first read: to make a handle does not connect. */
  private start(): void {
    const { running, logger } = this.scope.core;
    const ending = running.open();
    this.running = ending;
    this.run(ending.signal)
      .catch((error: unknown) => {
        if (!this.refused) {
          logger?.warn(`larder: no near cache of ${this.scope.namespace}: ${String(error)}`);
        }
        this.refused = true;
      })
      .finally(() => {
        this.ready = false;
        this.clear();
        running.end(ending);
        this.running = undefined;
        this.startAt = performance.now() + RETRY_MS;
      });
  }

  private async run(signal: AbortSignal): Promise<void> {
    for await (const each of follow(this.scope, true, signal, true)) {
      this.take(each);
    }
  }

  private take(signal: Signal): void {
    const now = performance.now();
    // A stream that was silent for too long has been given up before.
    if (this.ready) this.live(now);
    this.heard = { steady: now, wall: Date.now() };
    switch (signal.type) {
      case 'ready':
        if (!signal.resumed) this.clear();
        this.silence = signal.silence;
        this.ready = true;
        this.refused = false;
        break;
      case 'broken':
        // What is there is valid again if the stream can be continued.
        this.ready = false;
        this.dirty();
        break;
      case 'reset':
        this.ready = false;
        this.clear();
        break;
      case 'keys':
        for (const { key } of signal.keys) this.keyChanged(key);
        break;
      case 'namespace':
        this.clear();
        break;
      case 'tags':
        this.tagsInvalidated(signal.tags);
        break;
      case 'pattern':
        this.patternInvalidated(signal.glob);
        break;
    }
  }

  keyChanged(key: string): void {
    this.each((listener) => listener.keyChanged(key));
  }

  tagsInvalidated(tags: readonly string[]): void {
    const named = new Set(tags);
    this.each((listener) => listener.matching((_, held) => held.some((tag) => named.has(tag))));
  }

  patternInvalidated(glob: string): void {
    const matches = matcherOf(glob);
    this.each((listener) => listener.matching(matches));
  }

  /** Reads that are under way are not kept. */
  private dirty(): void {
    this.each((listener) => listener.matching(() => false));
  }

  clear(): void {
    this.each((listener) => listener.clear());
  }
}

/** The matcher of a pattern of the server. One of a later release concerns all keys. */
function matcherOf(glob: string): (key: string) => boolean {
  try {
    return globMatcher(glob);
  } catch (error) {
    if (!(error instanceof InvalidArgument)) throw error;
    return () => true;
  }
}

/**
 * Makes a call that changes entries: what it concerns is forgotten before and after it, so that no
 * read of this process returns or keeps what was there.
 */
export async function changing<R>(
  scope: Scope<any>,
  forget: (feed: Feed) => void,
  call: () => Promise<R>,
): Promise<R> {
  const feed = scope.core.feeds.of(scope.namespace);
  if (feed === undefined) return call();
  forget(feed);
  try {
    return await call();
  } finally {
    forget(feed);
  }
}

/** As {@link changing}, for an invalidation: the computations of now are not joined any more. */
export async function removing<R>(
  scope: Scope<any>,
  forget: (feed: Feed) => void,
  concerns: (key: string) => boolean,
  call: () => Promise<R>,
): Promise<R> {
  const { flights } = scope.core;
  flights.forget(scope.namespace, concerns);
  try {
    return await changing(scope, forget, call);
  } finally {
    flights.forget(scope.namespace, concerns);
  }
}

/** As {@link removing}, for a call that may concern all namespaces. */
export async function removingAll<R>(core: Core, call: () => Promise<R>): Promise<R> {
  const forget = () => {
    for (const feed of core.feeds.all()) feed.clear();
    core.flights.forget(undefined, () => true);
  };
  forget();
  try {
    return await call();
  } finally {
    forget();
  }
}

/** Namespaces of a client that can have feeds: each is a stream of the server. */
const MAX_FEEDS = 1000;

/** The feeds of a client by namespace: there are some only for namespaces with near caches. */
export class Feeds {
  private readonly feeds = new Map<string, Feed>();
  private warned = false;

  /** The feed of a namespace, which is opened at the first call. Undefined: there are too many. */
  open(scope: Scope<any>): Feed | undefined {
    const { namespace, core } = scope;
    const open = this.feeds.get(namespace);
    if (open !== undefined) return open;
    if (this.feeds.size >= MAX_FEEDS) {
      if (!this.warned) {
        const why = `${MAX_FEEDS} namespaces have one`;
        core.logger?.warn(`larder: no near cache of ${namespace}: ${why}`);
      }
      this.warned = true;
      return undefined;
    }
    // The handle itself would keep its near cache for ever.
    const feed = new Feed({ ...scope, near: undefined }, () => {
      if (this.feeds.get(namespace) === feed) this.feeds.delete(namespace);
    });
    this.feeds.set(namespace, feed);
    return feed;
  }

  /** The feed of a namespace, if there is one. */
  of(namespace: string): Feed | undefined {
    return this.feeds.get(namespace);
  }

  /** All feeds: for calls whose effect on namespaces is not known. */
  all(): Iterable<Feed> {
    return this.feeds.values();
  }
}
