import {
  Channel,
  type ChannelCredentials,
  type ChannelInterface,
  connectivityState,
  credentials,
  type InterceptingListener,
  Metadata,
  type ServiceError,
  status,
  type StatusObject,
} from '@grpc/grpc-js';
import { fromServiceError, larderError } from '../core/errors.js';
import { AdminServiceClient } from '../gen/larder/v1/admin_service.js';
import { CacheServiceClient } from '../gen/larder/v1/cache_service.js';
import { channelOptionsOf, type GrpcOptions } from './channel-options.js';
import { ASKED_MS, waitForHeader } from './credentials.js';
import { closeChannel, release } from './internals.js';
import type { Method } from './methods.js';
import { type Attempt, Silence, type Transport } from './transport.js';

type Call = ReturnType<ChannelInterface['createCall']>;

/** After so many calls in a row without an answer in time a connection counts as dead. */
const DEAD_AFTER = 5;
/** Calls on a connection that was replaced have this long to end. */
const DRAINED_MS = 60_000;

/** One connection (or one per address) with the channel that has it. */
interface Link {
  channel: ChannelInterface;
  answered: boolean;
  /** Calls in a row that had no answer in time. */
  unanswered: number;
}

/** Notes an answer on a connection. */
function heard(link: Link): void {
  link.answered = true;
  link.unanswered = 0;
}

/** An attempt with the time that is left of it. */
function remaining(attempt: Attempt, started: number): Attempt {
  if (attempt.timeout === undefined) return attempt;
  return { ...attempt, timeout: attempt.timeout - (performance.now() - started) };
}

/** Calls over grpc-js. Connects at the first call. */
export class GrpcTransport implements Transport {
  private link: Link | undefined;
  private closed = false;
  private feeds: ChannelInterface | undefined;
  private readonly drained = new Set<{ channel: ChannelInterface; timer: NodeJS.Timeout }>();
  private lastCall = { steady: 0, wall: 0 };
  /** Of calls without headers. */
  private readonly metadata = new Metadata();
  readonly renewsToken: boolean;

  constructor(private readonly options: GrpcOptions) {
    this.renewsToken = options.authorization?.renews ?? false;
  }

  private newChannel(): ChannelInterface {
    if (this.closed) {
      throw larderError('CANCELLED', 'the client is closed', { reason: 'CLIENT_CLOSED' });
    }
    const secure: ChannelCredentials =
      this.options.certificates?.credentials() ?? credentials.createInsecure();
    return new Channel(this.options.target.uri, secure, channelOptionsOf(this.options));
  }

  private current(): Link {
    const { maxIdle, certificates } = this.options;
    if (this.link !== undefined && certificates?.changed()) this.renew();
    if (maxIdle !== undefined) {
      const now = { steady: performance.now(), wall: Date.now() };
      // Either clock may have stood still while the process was frozen.
      const idle = Math.max(now.steady - this.lastCall.steady, now.wall - this.lastCall.wall);
      if (this.link !== undefined && idle > maxIdle) this.replace();
      this.lastCall = now;
    }
    this.link ??= { channel: this.newChannel(), answered: false, unanswered: 0 };
    return this.link;
  }

  /** Takes new certificates. Files that do not fit together, yet, leave the old ones in use. */
  private renew(): void {
    let channel: ChannelInterface;
    try {
      channel = this.newChannel();
    } catch {
      return;
    }
    this.replace();
    this.link = { channel, answered: false, unanswered: 0 };
    // The streams of near caches keep their connection, and have a new one after that.
    if (this.feeds !== undefined) closeChannel(this.feeds);
    this.feeds = undefined;
  }

  /** Makes the next call connect anew. Calls that run keep the old connection. */
  private replace(): void {
    const channel = this.link!.channel;
    this.link = undefined;
    const old = {
      channel,
      timer: setTimeout(() => {
        this.drained.delete(old);
        closeChannel(channel);
      }, DRAINED_MS).unref(),
    };
    this.drained.add(old);
    if (this.drained.size > 8) {
      const [oldest] = this.drained;
      clearTimeout(oldest!.timer);
      closeChannel(oldest!.channel);
      this.drained.delete(oldest!);
    }
  }

  /** Metadata of an attempt; not a promise if the token is at hand. */
  private headers(attempt: Attempt): Metadata | Promise<Metadata> {
    const authorization = this.options.authorization?.get();
    if (authorization === undefined && attempt.headers === undefined) return this.metadata;
    if (typeof authorization === 'object') {
      const { timeout, signal } = attempt;
      const limit = timeout === undefined ? ASKED_MS : this.withConnecting(timeout);
      return waitForHeader(authorization, limit, signal)
        .then((header) => this.filled(attempt, header));
    }
    return this.filled(attempt, authorization);
  }

  private filled(attempt: Attempt, authorization: string | undefined): Metadata {
    const metadata = this.metadata.clone();
    if (authorization !== undefined) metadata.set('authorization', authorization);
    for (const name in attempt.headers) metadata.set(name, attempt.headers[name]!);
    return metadata;
  }

  unary<Q, R>(method: Method<Q, R>, request: Q, attempt: Attempt): Promise<R> {
    const metadata = this.headers(attempt);
    if (metadata instanceof Metadata) return this.unaryWith(method, request, attempt, metadata);
    const started = performance.now();
    return metadata.then((filled) =>
      this.unaryWith(method, request, remaining(attempt, started), filled),
    );
  }

  private unaryWith<Q, R>(
    method: Method<Q, R>,
    request: Q,
    attempt: Attempt,
    metadata: Metadata,
  ): Promise<R> {
    return new Promise((resolve, reject) => {
      const { signal, timeout } = attempt;
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const bytes = method.serialize(request);
      const link = this.current();
      const call = link.channel.createCall(
        method.path, this.deadline(link, timeout), null, null, null,
      );
      let answer: R | undefined;
      let broken: unknown;
      let hasHead = false;
      const onAbort = () => call.cancelWithStatus(status.CANCELLED, 'cancelled by the caller');
      signal?.addEventListener('abort', onAbort);
      call.start(metadata, {
        onReceiveMetadata() {
          hasHead = true;
        },
        onReceiveMessage(message: Uint8Array) {
          try {
            answer = method.deserialize(message);
          } catch (error) {
            broken = error;
          }
        },
        onReceiveStatus: (end: StatusObject) => {
          signal?.removeEventListener('abort', onAbort);
          if (end.code === status.OK && answer !== undefined) {
            heard(link);
            resolve(answer);
          } else if (signal?.aborted) {
            reject(signal.reason);
          } else if (end.code === status.OK) {
            reject(larderError('INTERNAL', 'an answer that cannot be read', { cause: broken }));
          } else {
            reject(this.failure(link, end, hasHead));
          }
        },
      });
      call.sendMessageWithContext({}, bytes);
      call.halfClose();
      call.startRead();
    });
  }

  private deadline(link: Link, timeout: number | undefined): number {
    if (timeout === undefined) return Number.POSITIVE_INFINITY;
    return Date.now() + this.withConnecting(timeout, link);
  }

  /** The first call also has the time to connect. */
  private withConnecting(timeout: number, link = this.link): number {
    const isConnected = link !== undefined
      && (link.answered || link.channel.getConnectivityState(false) === connectivityState.READY);
    return isConnected ? timeout : timeout + this.options.connectTimeout;
  }

  /** The error of a call; feeds have no link. */
  private failure(link: Link | undefined, end: StatusObject, hasHead = false): Error {
    const { maxIdle } = this.options;
    // A status of the server has metadata; one that grpc-js makes has none.
    const isAnswer = hasHead || Object.keys(end.metadata.getMap()).length > 0;
    if (link === undefined) {
      // The connection of feeds is given up by their silence.
    } else if (end.code === status.DEADLINE_EXCEEDED && !isAnswer && this.link === link) {
      // A connection can look alive and be dead, after a freeze, a failover or by a NAT: the next
      // call takes another.
      link.unanswered += 1;
      if (maxIdle !== undefined || link.unanswered >= DEAD_AFTER) this.replace();
    } else {
      link.unanswered = 0;
    }
    if (end.code === status.UNAUTHENTICATED) this.options.authorization?.refuse();
    return fromServiceError(end as unknown as ServiceError);
  }

  async *stream<Q, R>(
    method: Method<Q, R>,
    request: Q,
    attempt: Attempt,
  ): AsyncGenerator<R, void> {
    const started = performance.now();
    const metadata = await this.headers(attempt);
    attempt.signal?.throwIfAborted();
    const { timeout } = remaining(attempt, started);
    const link = this.current();
    const call = link.channel.createCall(
      method.path, this.deadline(link, timeout), null, null, null,
    );
    yield* this.read(method, request, attempt, call, metadata, link);
  }

  async *feed<Q, R>(method: Method<Q, R>, request: Q, attempt: Attempt): AsyncGenerator<R, void> {
    const metadata = await this.headers(attempt);
    attempt.signal?.throwIfAborted();
    const channel = (this.feeds ??= this.newChannel());
    const call = channel.createCall(method.path, Number.POSITIVE_INFINITY, null, null, null);
    try {
      for await (const message of this.read(method, request, attempt, call, metadata)) {
        release(call);
        yield message;
        release(call);
      }
    } finally {
      // The other feeds on a silent connection continue on the next one, too.
      if (attempt.signal?.reason instanceof Silence && this.feeds === channel) {
        this.feeds = undefined;
        closeChannel(channel);
      }
    }
  }

  private async *read<Q, R>(
    method: Method<Q, R>,
    request: Q,
    attempt: Attempt,
    call: Call,
    metadata: Metadata,
    link?: Link,
  ): AsyncGenerator<R, void> {
    const { signal } = attempt;
    const messages: R[] = [];
    let end: StatusObject | undefined;
    let broken: unknown;
    let wake: () => void = () => {};
    const onAbort = () => call.cancelWithStatus(status.CANCELLED, 'cancelled by the caller');
    signal?.addEventListener('abort', onAbort);
    const listener: InterceptingListener = {
      onReceiveMetadata() {},
      onReceiveMessage(message: Uint8Array) {
        try {
          messages.push(method.deserialize(message));
        } catch (error) {
          broken = error;
          call.cancelWithStatus(status.INTERNAL, 'an answer that cannot be read');
        }
        wake();
      },
      onReceiveStatus(received) {
        end = received;
        wake();
      },
    };
    try {
      call.start(metadata, listener);
      call.sendMessageWithContext({}, method.serialize(request));
      call.halfClose();
      call.startRead();
      for (;;) {
        while (messages.length > 0) {
          if (link !== undefined) heard(link);
          yield messages.shift()!;
          // One message is asked for at a time, so that a slow reader holds the server back.
          if (end === undefined && messages.length === 0) call.startRead();
        }
        if (end !== undefined) break;
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (messages.length > 0 || end !== undefined) resolve();
        });
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      if (end === undefined) call.cancelWithStatus(status.CANCELLED, 'the reader has left');
    }
    if (end.code === status.OK) return;
    if (signal?.aborted) throw signal.reason;
    if (broken !== undefined) {
      throw larderError('INTERNAL', 'an answer that cannot be read', { cause: broken });
    }
    throw this.failure(link, end);
  }

  /** The generated stubs, on the connections of this client. */
  stubs(): { cache: CacheServiceClient; admin: AdminServiceClient } {
    const channelOverride = this.current().channel as Channel;
    const { uri } = this.options.target;
    const options = { channelOverride };
    return {
      cache: new CacheServiceClient(uri, credentials.createInsecure(), options),
      admin: new AdminServiceClient(uri, credentials.createInsecure(), options),
    };
  }

  async connect(timeout: number): Promise<void> {
    const { channel } = this.current();
    const deadline = Date.now() + timeout;
    for (;;) {
      if (this.closed) {
        throw larderError('CANCELLED', 'the client is closed', { reason: 'CLIENT_CLOSED' });
      }
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) return;
      await new Promise<void>((resolve, reject) => {
        channel.watchConnectivityState(state, deadline, (error) => {
          if (error === undefined) resolve();
          else reject(larderError('UNAVAILABLE', `no connection within ${timeout} ms`));
        });
      });
    }
  }

  close(): void {
    this.closed = true;
    if (this.link !== undefined) closeChannel(this.link.channel);
    if (this.feeds !== undefined) closeChannel(this.feeds);
    for (const { channel, timer } of this.drained) {
      clearTimeout(timer);
      closeChannel(channel);
    }
    this.drained.clear();
    this.link = undefined;
    this.feeds = undefined;
  }
}
