import { GrpcTransport } from '../transport/grpc.js';
import type { Transport } from '../transport/transport.js';
import { Caller, type Logger } from './caller.js';
import { checkTags, listOf } from './checks.js';
import { autoCodec, type Codec } from './codecs.js';
import { Counters, type Counts } from './counters.js';
import { type Duration, milliseconds, positive } from './durations.js';
import { type Published, publishEvent } from './invalidation.js';
import { type Stats, stats } from './listing.js';
import { removingAll, Feeds } from './feed.js';
import { Background, Flights } from './flights.js';
import { NearCache, type NearCacheOptions } from './near-cache.js';
import { Running } from './running.js';
import { larderError } from './errors.js';
import { shared, sleep } from './timers.js';
import { OpenTelemetry } from './telemetry.js';
import { encodeNamespace } from './names.js';
import { Namespace } from './namespace.js';
import { type ClientOptions, grpcTransport, headers, limits, type OnError } from './options.js';
import type { CallOptions, Core, Scope } from './scope.js';

/** Defaults of a handle. */
export interface NamespaceOptions<T> {
  /** How long values are fresh; the server's default if unset. */
  ttl?: Duration;
  /** Reads and writes the values; text, bytes and JSON by default. */
  codec?: Codec<T>;
  /** Tags of every value that the handle writes. */
  tags?: readonly string[];
  /**
   * Keep values in this process, coherent by Watch. Objects that are read are frozen then, because
   * readers share them. Keep the handle: each has a near cache of its own, which ends with it. At
   * most 1,000 namespaces of a client have near caches; handles of further ones have none.
   */
  nearCache?: boolean | NearCacheOptions;
  /** `raise`: outages are thrown by all calls; the client's choice if unset. */
  onError?: OnError;
}

/** Clients of a process at which a leak is likely: one per process is enough. */
const MANY_CLIENTS = 10;
/** How long `close` waits for the calls that give leases up. */
const PARTING_MS = 1000;
let liveClients = 0;

const CONSOLE: Logger = {
  warn: (message) => console.warn(message),
  info: (message) => console.info(message),
};

function checkOnError(value: OnError | undefined): void {
  if (value !== undefined && value !== 'open' && value !== 'raise') {
    throw new TypeError(`onError: expected 'open' or 'raise', got ${String(value)}`);
  }
}

/** A client of Larder. A process (or worker thread) has one. It connects at the first call. */
export class Client implements AsyncDisposable {
  private readonly transport: Transport;
  private readonly core: Core;
  private readonly prefix: string;
  private readonly onError: OnError;
  private closed = false;

  /**
   * @throws TypeError if an option is wrong, or if a token would be sent over plain text
   */
  constructor(options: ClientOptions = {}) {
    checkOnError(options.onError);
    this.onError = options.onError ?? 'open';
    this.prefix = options.namespacePrefix ?? '';
    const bounds = limits(options);
    const common = headers(options);
    this.transport = options.transport ?? grpcTransport(options);
    const logger = options.logger === undefined ? CONSOLE : (options.logger ?? undefined);
    const counters = new Counters();
    const telemetry = options.telemetry === false ? undefined : new OpenTelemetry(counters);
    this.core = {
      caller: new Caller(this.transport, logger, telemetry, common),
      counters,
      limits: bounds,
      flights: new Flights(),
      background: new Background(bounds.background),
      running: new Running(),
      feeds: new Feeds(),
      logger,
    };
    liveClients += 1;
    if (liveClients === MANY_CLIENTS) {
      process.emitWarning(
        `${MANY_CLIENTS} clients of Larder are open: one per process is enough, and each keeps ` +
          'connections until close()',
        { code: 'LARDER_MANY_CLIENTS' },
      );
    }
  }

  /**
   * A handle for a namespace. A name that the server does not take as it is gets an encoded one.
   *
   * @throws TypeError if the name is empty or an option is wrong
   */
  namespace<T = any>(name: string, options: NamespaceOptions<T> = {}): Namespace<T> {
    checkOnError(options.onError);
    if (typeof name !== 'string' || name === '') {
      throw new TypeError('namespace: expected a name that is not empty');
    }
    const tags = [...new Set(listOf(options.tags, 'tags'))];
    checkTags(tags);
    const namespace = encodeNamespace(this.prefix + name);
    const scope: Scope<T> = {
      core: this.core,
      namespace,
      codec: options.codec ?? autoCodec,
      ttl: options.ttl === undefined ? undefined : milliseconds(options.ttl, 'ttl'),
      tags,
      raise: (options.onError ?? this.onError) === 'raise',
      count: this.core.counters.of(namespace),
      near: undefined,
    };
    const { nearCache } = options;
    if (nearCache !== undefined && nearCache !== false) {
      const bounds = nearCache === true ? {} : nearCache;
      const feed = this.core.feeds.open(scope);
      if (feed !== undefined) scope.near = new NearCache(feed, bounds);
    }
    return new Namespace(name, scope);
  }

  /** Invalidates what the rules of the server select for an event, in all namespaces. */
  async publishEvent(
    name: string,
    attributes: Readonly<Record<string, string>> = {},
    options?: CallOptions,
  ): Promise<Published> {
    return removingAll(this.core, () =>
      publishEvent(this.core, this.spec(options), name, attributes),
    );
  }

  /** Statistics of these namespaces, or of all. */
  async stats(namespaces: Iterable<string> = [], options?: CallOptions): Promise<Stats> {
    const names = listOf(namespaces, 'namespaces').map((name) => {
      return encodeNamespace(this.prefix + name);
    });
    return stats(this.core, this.spec(options), names);
  }

  private spec(options: CallOptions | undefined) {
    const { timeout, signal } = options ?? {};
    return {
      timeout: timeout === undefined ? this.core.limits.call : positive(timeout, 'timeout'),
      signal: shared(signal),
      namespace: '',
      count: this.core.counters.of(''),
      idempotent: true,
      open: false,
    };
  }

  /**
   * Connects now rather than at the first call.
   *
   * @throws Unavailable if that takes longer than `timeout`
   */
  async connect(timeout?: Duration): Promise<void> {
    this.core.caller.checkOpen();
    await this.transport.connect(
      timeout === undefined ? this.core.limits.connect : positive(timeout, 'timeout'),
    );
  }

  /** The generated stubs, on the connections of this client. They do not exist for a fake. */
  get stubs(): ReturnType<GrpcTransport['stubs']> {
    this.core.caller.checkOpen();
    if (!(this.transport instanceof GrpcTransport)) {
      throw new TypeError('stubs: this client has a transport without gRPC');
    }
    return this.transport.stubs();
  }

  /** Events by namespace since the client was made. */
  counters(): Record<string, Counts> {
    return this.core.counters.snapshot();
  }

  /** Cancels computations and ends the connections. Calls after that throw. Can be repeated. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    liveClients -= 1;
    const { caller, flights, background, running } = this.core;
    caller.closing();
    const reason = larderError('CANCELLED', 'the client is closed', { reason: 'CLIENT_CLOSED' });
    running.close(reason);
    const parted = flights.close(reason).then(() => background.close(reason));
    // The leases of what was running are given up, so that other processes need not wait for them.
    const ending = new AbortController();
    const timeout = sleep(PARTING_MS, ending.signal).catch(() => {});
    await Promise.race([parted, timeout]);
    ending.abort();
    caller.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
