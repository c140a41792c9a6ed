import { ChannelCredentials, credentials } from '@grpc/grpc-js';
import { readFileSync, statSync } from 'node:fs';
import { isOutage, larderError } from '../core/errors.js';
import { timerDelay } from '../core/durations.js';

/** A token with its lifetime. */
export interface Token {
  readonly token: string;
  /** Milliseconds for which the token can be used. */
  readonly expiresIn?: number;
  /** When the token expires; a number is milliseconds since the epoch. */
  readonly expiresAt?: Date | number;
}

/** Returns a token. Text alone is asked for again after a minute. */
export type TokenProvider = () => string | Token | Promise<string | Token>;

/** Files of a client that speaks TLS, in PEM. */
export interface TlsFiles {
  /** Authorities that sign the certificate of the server; those of Node if unset. */
  caFile?: string;
  certFile?: string;
  keyFile?: string;
}

const DEFAULT_LIFETIME_MS = 60_000;
/** A token is renewed before its end, so that none expires on the way to the server. */
const RENEWED_BEFORE_MS = 30_000;
/** Calls wait for one answer of the provider for so long; then it is asked again. */
export const ASKED_MS = 10_000;
const FILES_CHECKED_MS = 10_000;
const MISSING = 'missing';

/** Keeps the header `authorization`, and asks the provider for a new token when it must. */
export class Authorization {
  private header: string | undefined;
  private goodUntil = Number.NEGATIVE_INFINITY;
  private pending: Promise<string> | undefined;
  private askedAt = Number.NEGATIVE_INFINITY;
  private readonly provider: TokenProvider | undefined;

  constructor(token: string | TokenProvider) {
    if (typeof token === 'function') {
      this.provider = token;
    } else {
      this.header = bearer(token);
      this.goodUntil = Number.POSITIVE_INFINITY;
    }
  }

  /** The header, at once if there is a token that has not expired. */
  get(): string | Promise<string> {
    if (performance.now() < this.goodUntil) return this.header!;
    const now = performance.now();
    // A provider that does not answer is asked again.
    if (this.pending !== undefined && now - this.askedAt < ASKED_MS) return this.pending;
    this.askedAt = now;
    const pending = this.ask().finally(() => {
      if (this.pending === pending) this.pending = undefined;
    });
    this.pending = pending;
    return pending;
  }

  /** Whether there can be another token. */
  get renews(): boolean {
    return this.provider !== undefined;
  }

  /** Forgets the token, because the server does not accept it. */
  refuse(): void {
    if (this.renews) this.goodUntil = Number.NEGATIVE_INFINITY;
  }

  private async ask(): Promise<string> {
    let token: Token;
    let header: string;
    try {
      const answer = await this.provider!();
      token = typeof answer === 'string' ? { token: answer } : answer;
      header = bearer(token?.token);
    } catch (cause) {
      if (isOutage(cause)) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw larderError('UNAVAILABLE', `the token provider failed: ${why}`, {
        reason: 'NO_TOKEN',
        cause,
      });
    }
    let lifetime = token.expiresIn ?? DEFAULT_LIFETIME_MS;
    if (token.expiresAt !== undefined) lifetime = Number(token.expiresAt) - Date.now();
    if (Number.isNaN(lifetime)) lifetime = DEFAULT_LIFETIME_MS;
    this.header = header;
    // A token of a short life is used for nine tenths of it.
    const margin = Math.min(RENEWED_BEFORE_MS, lifetime / 10);
    this.goodUntil = performance.now() + lifetime - margin;
    return header;
  }
}

/**
 * Waits for a header.
 *
 * @param limit milliseconds
 * @throws DeadlineExceeded (`NO_TOKEN`) after that; the reason of the signal if it is aborted
 */
export function waitForHeader(
  pending: Promise<string>,
  limit: number,
  signal: AbortSignal | undefined,
): Promise<string> {
  return new Promise<string>((resolve, reject) => {
    const onAbort = () => end(() => reject(signal!.reason));
    const timer = setTimeout(() => {
      const why = 'the token provider does not answer';
      end(() => reject(larderError('DEADLINE_EXCEEDED', why, { reason: 'NO_TOKEN' })));
    }, timerDelay(Math.max(0, limit)));
    // The provider may never answer: the listener ends with the wait.
    const end = (settle: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      settle();
    };
    signal?.addEventListener('abort', onAbort);
    pending.then((header) => end(() => resolve(header)), (error) => end(() => reject(error)));
    if (signal?.aborted) onAbort();
  });
}

function bearer(token: unknown): string {
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw new TypeError('token: expected printable ASCII without white space');
  }
  return `Bearer ${token}`;
}

/** The files of a certificate, read again when they change. */
export class Certificates {
  private stamp = '';
  private checkedAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly files: TlsFiles) {
    if ((files.certFile === undefined) !== (files.keyFile === undefined)) {
      throw new TypeError('certFile and keyFile: both or none');
    }
  }

  /** Reads the files. @throws Unavailable (`CERTIFICATES`) if one cannot be read */
  credentials(): ChannelCredentials {
    try {
      return this.read();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw larderError('UNAVAILABLE', `the certificates cannot be read: ${why}`, {
        reason: 'CERTIFICATES',
        cause,
      });
    }
  }

  private read(): ChannelCredentials {
    const stamp = this.stamps();
    this.checkedAt = performance.now();
    const { caFile, certFile, keyFile } = this.files;
    const read = credentials.createSsl(
      caFile === undefined ? null : readFileSync(caFile),
      keyFile === undefined ? null : readFileSync(keyFile),
      certFile === undefined ? null : readFileSync(certFile),
    );
    this.stamp = stamp;
    return read;
  }

  /** Whether a file has changed since it was read; looks at most every 10 s. */
  changed(): boolean {
    const now = performance.now();
    if (now - this.checkedAt < FILES_CHECKED_MS) return false;
    this.checkedAt = now;
    const stamps = this.stamps();
    return stamps !== this.stamp && !stamps.includes(MISSING);
  }

  private stamps(): string {
    return [this.files.caFile, this.files.certFile, this.files.keyFile]
      .map((file) => {
        if (file === undefined) return '';
        const stat = statSync(file, { throwIfNoEntry: false });
        // A file that is being replaced is looked at again later.
        return stat === undefined ? MISSING : `${stat.mtimeMs}/${stat.size}/${stat.ino}`;
      })
      .join(' ');
  }
}
