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

/** The changes of a namespace for its near caches, from Watch and from writes of this client. */
export class Feed {
  private readonly listeners = new Set<Listener>();
  private ready = false;
  private silence = 0;
  private heard = { steady: 0, wall: 0 };
  private started = false;

  constructor(private readonly scope: Scope<any>) {}

  listen(listener: Listener): void {
    this.listeners.add(listener);
  }

  /** Whether all changes arrive, by the steady clock. */
  live(now: number): boolean {
    if (!this.ready) {
      this.start();
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
    if (this.started) return;
    this.started = true;
    const { running, logger } = this.scope.core;
    const ending = running.open();
    this.run(ending.signal)
      .catch((error: unknown) => {
        logger?.warn(`larder: no near cache of ${this.scope.namespace}: ${String(error)}`);
      })
      .finally(() => {
        this.ready = false;
        this.clear();
        running.end(ending);
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
    for (const listener of this.listeners) listener.keyChanged(key);
  }

  tagsInvalidated(tags: readonly string[]): void {
    const named = new Set(tags);
    for (const listener of this.listeners) {
      listener.matching((_, held) => held.some((tag) => named.has(tag)));
    }
  }

  patternInvalidated(glob: string): void {
    const matches = matcherOf(glob);
    for (const listener of this.listeners) listener.matching(matches);
  }

  /** Reads that are under way are not kept. */
  private dirty(): void {
    for (const listener of this.listeners) listener.matching(() => false);
  }

  clear(): void {
    for (const listener of this.listeners) listener.clear();
  }
}

/** The matcher of a pattern of the server. One that only a later release knows concerns all keys. */
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

/** The feeds of a client by namespace: there are some only for namespaces with near caches. */
export class Feeds {
  private readonly feeds = new Map<string, Feed>();

  /** The feed of a namespace, which is opened at the first call. */
  open(scope: Scope<any>): Feed {
    let feed = this.feeds.get(scope.namespace);
    if (feed === undefined) {
      feed = new Feed(scope);
      this.feeds.set(scope.namespace, feed);
    }
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
