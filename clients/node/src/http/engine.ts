import { type Connection, connectionOf, warn } from '../adapters/support.js';
import { milliseconds } from '../core/durations.js';
import { type Duration, FOREVER, loaded, type Namespace, type Result } from '../index.js';
import { capture, type CaptureRules, type Ending } from './capture.js';
import { codec, entityTag, type Stored, type StoredResponse } from './entries.js';
import { pathOf, pathTag, variantOf } from './keys.js';
import { type Exchange, keyText, type Lookup, lookupOf } from './lookup.js';
import { addedTags, type HttpCacheOptions, type HttpCacheRules } from './options.js';
import { freshFor, headersOf, isNotModified, satisfies, varyNames } from './rules.js';

/** A cached answer to send. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  /** Undefined for a 304. Node leaves it out of the answer to HEAD. */
  body: Buffer | undefined;
}

const DEFAULT_STATUSES = [200];
const DEFAULT_MAX_BODY = 512 * 1024;
const DEFAULT_PASS_MS = 10_000;
/** After an error of the handler, requests wait for each other again soon. */
const FAILED_PASS_MS = 1000;
/** How long a request waits for the answer to another one, which may be a stream without an end. */
const JOINED_MS = 5000;
/** URLs whose `Vary` this process remembers. */
const MAX_REMEMBERED = 1000;
/** Lookups of one request: its variants become known one after the other. */
const MAX_ROUNDS = 4;
/** The handler makes whole answers, which the cache turns into a 304. */
const CONDITIONS = ['if-none-match', 'if-modified-since'];
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/** A cache of HTTP answers for a framework. */
export class HttpCache<Request> {
  readonly handle: Namespace<Stored>;
  readonly #connection: Connection;
  readonly #options: HttpCacheOptions<Request>;
  readonly #remembered = new Map<string, string[]>();

  constructor(options: HttpCacheOptions<Request>) {
    this.#options = options;
    this.#connection = connectionOf(options);
    const name = options.namespace ?? 'http';
    this.handle = this.#connection.client.namespace<Stored>(name, { codec, onError: 'open' });
  }

  /** Invalidates all answers of a path, with every query and for every user. */
  async purge(path: string): Promise<void> {
    await this.handle.invalidate({ tags: [pathTag(pathOf(path))] });
  }

  /** Invalidates all answers with any of the tags. */
  async invalidateTags(...tags: string[]): Promise<void> {
    await this.handle.invalidate({ tags });
  }

  /** Closes the client, if it belongs to the cache. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  /**
   * Begins a request.
   *
   * @returns the answer from the cache; undefined: the handler makes it, and what it sends is
   * stored if it may be
   */
  async begin(
    exchange: Exchange<Request>,
    own: HttpCacheRules<Request> = {},
  ): Promise<Answer | undefined> {
    const rules = { ...this.#options, ...own };
    try {
      this.#purgeAfter(exchange, rules);
      const lookup = await lookupOf(exchange, rules);
      if (lookup === undefined) return this.#bypass(exchange);
      return await this.#answer(lookup);
    } catch (error) {
      if (isAbort(error) && exchange.response.destroyed) return GONE;
      // A request never fails because of its cache.
      this.#report(error);
      return this.#bypass(exchange);
    }
  }

  async #answer(lookup: Lookup<Request>): Promise<Answer | undefined> {
    const { exchange } = lookup;
    const primary = variantOf(lookup.params, lookup.headers, lookup.names);
    const place = `${lookup.path} ${JSON.stringify(primary)}`;
    for (const name of this.#remembered.get(place) ?? []) lookup.names.add(name);
    let refresh = false;
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const result = await this.#read(lookup, primary, place, refresh);
      if (result === undefined) return undefined;
      const stored = result.value;
      if (stored === null) return this.#continue(exchange, 'MISS');
      switch (stored.kind) {
        case 'response':
          if (refresh || this.#isWanted(lookup, stored, result)) {
            return this.#serve(lookup, stored, result);
          }
          refresh = true;
          break;
        case 'vary':
          this.#remember(place, stored.names);
          for (const name of stored.names) lookup.names.add(name);
          break;
        case 'pass':
          return this.#bypass(exchange);
        case 'retry':
          break;
      }
    }
    return this.#bypass(exchange);
  }

  /** @returns undefined if the handler of this request makes the answer */
  async #read(
    lookup: Lookup<Request>,
    primary: Record<string, string>,
    place: string,
    refresh: boolean,
  ): Promise<Result<Stored> | undefined> {
    const { exchange, path } = lookup;
    const params = variantOf(lookup.params, lookup.headers, lookup.names);
    if (exchange.raw.method === 'HEAD') {
      return this.handle.get(path, { params, maxStale: 0 });
    }
    let begin!: () => void;
    const begun = new Promise<void>((resolve) => (begin = resolve));
    let leads = false;
    const gone = new AbortController();
    const abort = () => {
      if (!leads) gone.abort();
    };
    if (exchange.response.destroyed) abort();
    exchange.response.once('close', abort);
    const reading = this.handle.getOrFetch(
      path,
      async () => {
        // The answer of a client that has gone never ends: those that joined make another.
        if (gone.signal.aborted || exchange.response.destroyed) {
          return loaded<Stored>({ kind: 'retry' }, { store: false });
        }
        leads = true;
        // The handler begins once the capture has been set up.
        const ending = this.#capture(lookup);
        begin();
        return this.#fill(lookup, await ending, primary, place);
      },
      { params, maxStale: 0, refresh, timeout: JOINED_MS, signal: gone.signal },
    );
    const result = await Promise.race([reading, begun]);
    if (leads) {
      reading.catch((error) => this.#report(error));
      return undefined;
    }
    exchange.response.off('close', abort);
    return result as Result<Stored>;
  }

  /** Whether the answer is recent enough for the request. */
  #isWanted(
    { rules, headers }: Lookup<Request>,
    stored: StoredResponse,
    { age, ttlRemaining }: Result<Stored>,
  ): boolean {
    return !rules.obeyRequests || satisfies(headers, stored, age ?? 0, ttlRemaining ?? 0);
  }

  #serve(lookup: Lookup<Request>, stored: StoredResponse, result: Result<Stored>): Answer {
    const { headers } = lookup;
    const sent = headersOf(stored, result.age ?? 0) as Record<string, string>;
    sent['x-cache'] = result.tier === 'loader' ? 'MISS' : 'HIT';
    if (result.ttlRemaining !== undefined) {
      sent['x-cache-ttl-remaining'] = String(Math.ceil(result.ttlRemaining / 1000));
    }
    if (this.#options.debug) sent['x-cache-key'] = keyText(lookup);
    if (isNotModified(headers, stored.status, sent)) {
      for (const name of ['content-type', 'content-length', 'content-encoding']) delete sent[name];
      return { status: 304, headers: sent, body: undefined };
    }
    sent['content-length'] = String(stored.body.length);
    return { status: stored.status, headers: sent, body: stored.body };
  }

  /** The value of the loader, for this request and those that wait for it. */
  async #fill(
    lookup: Lookup<Request>,
    ending: Ending,
    primary: Record<string, string>,
    place: string,
  ) {
    if (ending.kind === 'aborted') return loaded<Stored>({ kind: 'retry' }, { store: false });
    const fill = this.#verdict(lookup, ending);
    if (fill === undefined) {
      const usual = this.#options.passFor ?? DEFAULT_PASS_MS;
      const ttl = ending.status >= 500 ? FAILED_PASS_MS : usual;
      return loaded<Stored>({ kind: 'pass' }, { ttl });
    }
    const names = varyNames(fill.response.headers);
    if (hasAll(lookup.names, names)) {
      return loaded<Stored>(fill.response, { ttl: fill.ttl, tags: fill.tags });
    }
    // The lease is for another entry than this variant: the next request makes it again.
    const record: Stored = { kind: 'vary', names: [...new Set([...lookup.names, ...names])] };
    this.#remember(place, record.names);
    const asked = variantOf(lookup.params, lookup.headers, lookup.names);
    const isPrimary = JSON.stringify(asked) === JSON.stringify(primary);
    if (isPrimary) return loaded(record, { ttl: FOREVER });
    await this.handle.set(lookup.path, record, { params: primary, ttl: FOREVER });
    return loaded(record, { store: false });
  }

  /** The answer to store; undefined if it must not be stored. */
  #verdict(lookup: Lookup<Request>, ending: Ending) {
    if (ending.kind !== 'complete') return undefined;
    const { exchange, rules, path } = lookup;
    const { status, body } = ending;
    const headers = { ...ending.headers };
    const ttl = this.#freshFor(lookup, { status, headers });
    if (ttl === undefined || ttl <= 0) return undefined;
    for (const name of OWN_HEADERS) delete headers[name];
    headers.etag ??= entityTag(body);
    const given = typeof rules.tags === 'function'
      ? rules.tags(exchange.request, exchange.response)
      : rules.tags ?? [];
    const tags = [...new Set([pathTag(path), ...given, ...addedTags(exchange.response)])];
    const response: StoredResponse = { kind: 'response', status, headers, body };
    return { response, ttl, tags };
  }

  #freshFor(lookup: Lookup<Request>, head: { status: number; headers: Record<string, string> }) {
    const { exchange, rules, shared, headers } = lookup;
    const ttl = typeof rules.ttl === 'function'
      ? rules.ttl(exchange.request, exchange.response)
      : rules.ttl;
    const statuses = rules.statuses ?? DEFAULT_STATUSES;
    return freshFor(headers, head, { shared, statuses }, lifetime(ttl));
  }

  #capture(lookup: Lookup<Request>): Promise<Ending> {
    const { exchange, headers, rules } = lookup;
    const { raw, response } = exchange;
    // The handler makes the whole answer.
    for (const name of CONDITIONS) delete raw.headers[name];
    const capturing: CaptureRules = {
      limit: rules.maxBody ?? DEFAULT_MAX_BODY,
      wants: (head) => {
        try {
          const ttl = this.#freshFor(lookup, head);
          return ttl !== undefined && ttl > 0;
        } catch (error) {
          // The rules of the program must not break its answer.
          this.#report(error);
          return false;
        }
      },
      onHead: (sent) => {
        sent.setHeader('x-cache', 'MISS');
        if (this.#options.debug) sent.setHeader('x-cache-key', keyText(lookup));
      },
      onWhole: (sent, body) => {
        if (!sent.hasHeader('etag')) sent.setHeader('etag', entityTag(body));
        const etag = String(sent.getHeader('etag'));
        const modified = sent.getHeader('last-modified');
        return isNotModified(headers, sent.statusCode, {
          etag,
          ...(modified === undefined ? {} : { 'last-modified': String(modified) }),
        });
      },
    };
    return capture(response, capturing);
  }

  /** RFC 9111, 4.4: a change of a resource makes its cached answers invalid. */
  #purgeAfter({ raw, response, url }: Exchange<Request>, rules: HttpCacheRules<Request>): void {
    const { method = 'GET' } = raw;
    if (SAFE.has(method) || (method === 'POST' && rules.post)) return;
    response.once('finish', () => {
      if (response.statusCode >= 400) return;
      this.purge(url).catch((error: unknown) => this.#report(error));
    });
  }

  #remember(place: string, names: string[]): void {
    this.#remembered.delete(place);
    this.#remembered.set(place, names);
    if (this.#remembered.size <= MAX_REMEMBERED) return;
    const [oldest] = this.#remembered.keys();
    this.#remembered.delete(oldest!);
  }

  #bypass(exchange: Exchange<Request>): undefined {
    return this.#continue(exchange, 'BYPASS');
  }

  #continue(exchange: Exchange<Request>, outcome: 'MISS' | 'BYPASS'): undefined {
    if (!exchange.response.headersSent) exchange.response.setHeader('x-cache', outcome);
    return undefined;
  }

  #report(error: unknown): void {
    const { onError } = this.#options;
    if (onError === undefined) return warn(error);
    try {
      onError(error);
    } catch (failure) {
      warn(failure);
    }
  }
}

/** For a client that has gone while it waited: the handler need not run. */
const GONE: Answer = { status: 499, headers: {}, body: undefined };

/** Headers of the cache itself, which a stored answer does not have. */
const OWN_HEADERS = ['x-cache', 'x-cache-key', 'x-cache-ttl-remaining'];

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

function lifetime(ttl: Duration | undefined): number | undefined {
  return ttl === undefined ? undefined : milliseconds(ttl, 'ttl');
}

function hasAll(names: ReadonlySet<string>, wanted: readonly string[]): boolean {
  return wanted.every((name) => names.has(name));
}
