import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Head } from './entries.js';

/** How an answer ended. */
export type Ending =
  | ({ kind: 'complete'; body: Buffer } & Head)
  /** It is not to be cached; it may still be sent. */
  | { kind: 'refused'; status: number }
  /** The connection ended before the answer. */
  | { kind: 'aborted' };

/** Decisions while an answer is sent. */
export interface CaptureRules {
  /** Largest body that is kept, in bytes. */
  limit: number;
  /** Whether an answer with this head is to be kept. */
  wants(head: Head): boolean;
  /** Called before the head is sent, to add headers. */
  onHead(response: ServerResponse): void;
  /**
   * Called for an answer that is sent in one piece, before its head.
   *
   * @returns whether a 304 without a body is sent in its place
   */
  onWhole(response: ServerResponse, body: Buffer): boolean;
}

/** How long a handler may go on after its client has gone, in milliseconds. */
const GRACE_MS = 10_000;

/** Headers that forbid the cache, also if they are set while the head is sent. */
const LATE_HEADERS = ['set-cookie', 'cache-control', 'vary'];

const BODY_HEADERS = ['content-length', 'content-type', 'content-encoding', 'transfer-encoding'];

/** Keeps a copy of an answer, while it is sent as always. */
export function capture(response: ServerResponse, rules: CaptureRules): Promise<Ending> {
  return new Promise((resolve) => new Capture(response, rules, resolve));
}

/** The head of an answer that is about to be sent. */
export function headOf(response: ServerResponse, status = response.statusCode): Head {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(response.getHeaders())) {
    if (value === undefined) continue;
    headers[name] = Array.isArray(value) ? value.join(', ') : String(value);
  }
  return { status, headers };
}

class Capture {
  readonly #response: ServerResponse;
  readonly #rules: CaptureRules;
  readonly #resolve: (ending: Ending) => void;
  readonly #original: Pick<ServerResponse, 'writeHead' | 'write' | 'end'>;
  #chunks: Buffer[] = [];
  #size = 0;
  #head: Head | undefined;
  #settled = false;
  #ended = false;

  constructor(
    response: ServerResponse,
    rules: CaptureRules,
    resolve: (ending: Ending) => void,
  ) {
    this.#response = response;
    this.#rules = rules;
    this.#resolve = resolve;
    this.#original = {
      writeHead: response.writeHead,
      write: response.write,
      end: response.end,
    };
    response.writeHead = ((...args: unknown[]) => this.#writeHead(args)) as never;
    response.write = ((...args: unknown[]) => this.#write(args)) as never;
    response.end = ((...args: unknown[]) => this.#end(args)) as never;
    response.once('close', () => this.#closed());
    if (response.closed) this.#settle({ kind: 'aborted' });
  }

  #writeHead(args: unknown[]): unknown {
    const [status, second, third] = args;
    const message = typeof second === 'string' ? second : undefined;
    const given = (message === undefined ? second : third) ?? third;
    setHeaders(this.#response, given as OutgoingHttpHeaders | unknown[] | undefined);
    this.#keepHead(Number(status));
    const rest = message === undefined ? [] : [message];
    return Reflect.apply(this.#original.writeHead, this.#response, [status, ...rest]);
  }

  #write(args: unknown[]): unknown {
    // Some responses write what `end` is given by `write`: it has been kept.
    if (!this.#ended) this.#keep(args[0], args[1]);
    return Reflect.apply(this.#original.write, this.#response, args);
  }

  #end(args: unknown[]): unknown {
    const [chunk, encoding] = args;
    const whole = this.#head === undefined && !this.#ended && !this.#settled;
    if (whole && !this.#response.headersSent) {
      const body = typeof chunk === 'function' ? NOTHING : toBuffer(chunk, encoding) ?? NOTHING;
      if (this.#endWhole(body, args.filter((arg) => typeof arg === 'function'))) {
        return this.#response;
      }
    }
    const first = !this.#ended;
    this.#ended = true;
    if (first && typeof chunk !== 'function') this.#keep(chunk, encoding);
    const sent = Reflect.apply(this.#original.end, this.#response, args);
    if (first) this.#complete();
    return sent;
  }

  /** @returns whether the answer was replaced by a 304 */
  #endWhole(body: Buffer, callbacks: unknown[]): boolean {
    const response = this.#response;
    const head = headOf(response);
    if (body.length > this.#rules.limit || !this.#rules.wants(head)) return false;
    if (!this.#rules.onWhole(response, body)) return false;
    this.#keepHead(response.statusCode);
    this.#keep(body, undefined);
    this.#ended = true;
    response.statusCode = 304;
    for (const name of BODY_HEADERS) response.removeHeader(name);
    Reflect.apply(this.#original.writeHead, response, [304]);
    Reflect.apply(this.#original.end, response, callbacks);
    this.#complete();
    return true;
  }

  #keepHead(status: number): void {
    // An informational answer such as 103 comes before the real one.
    if (this.#head !== undefined || status < 200) return;
    this.#head = headOf(this.#response, status);
    if (!this.#settled && !this.#rules.wants(this.#head)) {
      this.#settle({ kind: 'refused', status });
    }
    const length = Number(this.#head.headers['content-length'] ?? 0);
    if (length > this.#rules.limit) this.#settle({ kind: 'refused', status });
    this.#rules.onHead(this.#response);
  }

  #keep(chunk: unknown, encoding: unknown): void {
    if (this.#settled) return;
    const bytes = toBuffer(chunk, encoding);
    if (bytes === undefined) return;
    this.#size += bytes.length;
    if (this.#size > this.#rules.limit) {
      this.#settle({ kind: 'refused', status: this.#head?.status ?? 200 });
    } else {
      // A program may use its buffer again after it has sent it.
      this.#chunks.push(Buffer.from(bytes));
    }
  }

  #complete(): void {
    // Middleware before the cache may save a session first, and sends the head after that.
    if (this.#response.headersSent) return this.#conclude();
    this.#response.once('finish', () => this.#conclude());
    this.#response.once('close', () => this.#settle({ kind: 'aborted' }));
  }

  /** Ends a capture whose head has been sent. */
  #conclude(): void {
    if (this.#settled) return;
    const head = this.#head ?? headOf(this.#response);
    if (this.#isForbidden(head)) return this.#settle({ kind: 'refused', status: head.status });
    const body = Buffer.concat(this.#chunks);
    const length = head.headers['content-length'];
    // An answer that is shorter than its Content-Length is not whole.
    if (length !== undefined && Number(length) !== body.length) {
      return this.#settle({ kind: 'aborted' });
    }
    this.#settle({ kind: 'complete', ...head, body });
  }

  /** Whether the head that was sent, with what others have added, is not to be cached. */
  #isForbidden(head: Head): boolean {
    const sent = headOf(this.#response).headers;
    const late = LATE_HEADERS.filter((name) => sent[name] !== head.headers[name]);
    if (late.length === 0) return false;
    const headers = { ...head.headers };
    for (const name of late) {
      const value = sent[name];
      if (value === undefined) delete headers[name];
      else headers[name] = value;
    }
    return !this.#rules.wants({ status: head.status, headers });
  }

  #closed(): void {
    if (this.#ended || this.#settled) return;
    // A handler that is still computing ends its answer later; a stream was cut and does not.
    if (this.#head !== undefined) return this.#settle({ kind: 'aborted' });
    setTimeout(() => this.#settle({ kind: 'aborted' }), GRACE_MS).unref();
  }

  #settle(ending: Ending): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#chunks = ending.kind === 'complete' ? this.#chunks : [];
    this.#resolve(ending);
  }
}

const NOTHING = Buffer.alloc(0);

function toBuffer(chunk: unknown, encoding: unknown): Buffer | undefined {
  if (typeof chunk === 'string') {
    return Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8');
  }
  if (!(chunk instanceof Uint8Array)) return undefined;
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

/** Sets the headers that `writeHead` was given: an object, or names and values in turn. */
function setHeaders(
  response: ServerResponse,
  given: OutgoingHttpHeaders | readonly unknown[] | undefined,
): void {
  if (given === undefined || response.headersSent) return;
  if (!Array.isArray(given)) {
    for (const [name, value] of Object.entries(given)) {
      if (value !== undefined) response.setHeader(name, value as string);
    }
    return;
  }
  const lists = new Map<string, string[]>();
  for (let index = 0; index + 1 < given.length; index += 2) {
    const name = String(given[index]).toLowerCase();
    lists.set(name, [...(lists.get(name) ?? []), String(given[index + 1])]);
  }
  for (const [name, values] of lists) {
    response.setHeader(name, values.length === 1 ? values[0]! : values);
  }
}
