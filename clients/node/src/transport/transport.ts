import type { Method } from './methods.js';

/** How one attempt of a call is made. */
export interface Attempt {
  /** Milliseconds for the answer; undefined: no limit. */
  timeout: number | undefined;
  signal: AbortSignal | undefined;
  /** Headers of this attempt: the schema version, and the trace context. */
  headers: Readonly<Record<string, string>> | undefined;
}

/** Why the reader of a feed leaves it: its connection is silent, and may be dead. */
export class Silence extends Error {}

/**
 * Carries calls to a server. Errors are `LarderError`s, or the reason of the signal if the caller
 * has cancelled the call.
 */
export interface Transport {
  /** Whether a call with a token that the server refuses can be repeated with another. */
  readonly renewsToken: boolean;
  unary<Q, R>(method: Method<Q, R>, request: Q, attempt: Attempt): Promise<R>;
  /** Reads a stream. To leave the loop cancels the call. */
  stream<Q, R>(method: Method<Q, R>, request: Q, attempt: Attempt): AsyncGenerator<R, void>;
  /** As `stream`, on a connection of its own that does not keep the process running. */
  feed<Q, R>(method: Method<Q, R>, request: Q, attempt: Attempt): AsyncGenerator<R, void>;
  /** Connects. Rejects if that takes longer than `timeout` milliseconds. */
  connect(timeout: number): Promise<void>;
  close(): void;
}
