import type { ChannelOptions } from '@grpc/grpc-js';
import { Authorization, Certificates, type TokenProvider } from '../transport/credentials.js';
import { GrpcTransport } from '../transport/grpc.js';
import { parseTarget } from '../transport/targets.js';
import type { Transport } from '../transport/transport.js';
import type { Logger } from './caller.js';
import { type Duration, positive, span } from './durations.js';

/** Name of a set of limits: clients/README.md, "Time and connections". */
export type Preset = 'service' | 'local' | 'low_latency' | 'lambda';

/** `open`: reads and writes go on without the cache at an outage. `raise`: they throw. */
export type OnError = 'open' | 'raise';

/** Options of a client. All are optional. */
export interface ClientOptions {
  /**
   * `host:port`, `dns:///host:port`, `unix:path`, or several addresses separated by commas.
   * `LARDER_ENDPOINT`, else `127.0.0.1:50051`.
   */
  target?: string;
  /** `service`. */
  preset?: Preset;
  /** Put before the names of all namespaces. */
  namespacePrefix?: string;
  /** `open`. */
  onError?: OnError;
  /** Sent as `authorization: Bearer`. `LARDER_TOKEN`. */
  token?: string | TokenProvider;
  /** Authorities of the server's certificate, in PEM. `LARDER_CA_FILE`. Switches TLS on. */
  caFile?: string;
  /** Certificate of the client, in PEM. `LARDER_CERT_FILE`. Switches TLS on. */
  certFile?: string;
  /** Key of the certificate, in PEM. `LARDER_KEY_FILE`. */
  keyFile?: string;
  /** Speak TLS with the authorities of Node, when no file is named. */
  tls?: boolean;
  /** Name in the server's certificate, if it is not that of the target. */
  serverName?: string;
  /** Send the token over plain text to another machine. */
  allowPlaintextToken?: boolean;
  /** Version of what the program caches, 1 to 64 of `A-Za-z0-9._-`. */
  schemaVersion?: string;
  /** Time limit of a call. */
  callTimeout?: Duration;
  /** Time limit of `connect`, and what the first call has in addition. */
  connectTimeout?: Duration;
  /** How long `getOrFetch` waits for the computation of another process: 5 s. */
  wait?: Duration;
  /** What `getOrFetch` has in addition to `wait`. */
  waitMargin?: Duration;
  /** Time between pings while calls run; false: none. */
  keepalive?: Duration | false;
  /** Time for the answer to a ping. */
  keepaliveTimeout?: Duration;
  /** A connection that was idle for longer is replaced. */
  maxIdle?: Duration;
  /** Computations in the background at once: 16. */
  background?: number;
  /** Told when an outage begins and ends; `console` by default, null: nothing. */
  logger?: Logger | null;
  /** Use OpenTelemetry, if it is in the process: true. */
  telemetry?: boolean;
  /** Further options of grpc-js. */
  channelOptions?: ChannelOptions;
  /** Carries the calls in place of gRPC, for tests: `FakeLarder.transport`. */
  transport?: Transport;
}

/** Limits of a client, in milliseconds. */
export interface Limits {
  call: number;
  connect: number;
  wait: number;
  waitMargin: number;
  background: number;
  /** Between two pings; undefined: no pings. */
  keepalive: number | undefined;
  keepaliveTimeout: number;
  /** After which an idle connection is replaced; undefined: never. */
  maxIdle: number | undefined;
}

interface PresetValues {
  call: number;
  connect: number;
  waitMargin: number;
  keepalive: number | undefined;
  maxIdle: number | undefined;
}

const PRESETS: Record<Preset, PresetValues> = {
  service: { call: 500, connect: 1000, waitMargin: 1000, keepalive: 30_000, maxIdle: undefined },
  local: { call: 5000, connect: 5000, waitMargin: 5000, keepalive: undefined, maxIdle: undefined },
  low_latency: { call: 100, connect: 500, waitMargin: 250, keepalive: 30_000, maxIdle: undefined },
  lambda: { call: 1000, connect: 1000, waitMargin: 1000, keepalive: undefined, maxIdle: 240_000 },
};
const WAIT_MS = 5000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const BACKGROUND = 16;

function preset(options: ClientOptions): PresetValues {
  const name = options.preset ?? 'service';
  if (!Object.hasOwn(PRESETS, name)) {
    throw new TypeError(`preset: expected ${Object.keys(PRESETS).join(', ')}, got ${name}`);
  }
  return PRESETS[name];
}

/** The limits that the options give. */
export function limits(options: ClientOptions): Limits {
  const values = preset(options);
  const background = options.background ?? BACKGROUND;
  if (!Number.isInteger(background) || background < 0) {
    throw new RangeError(`background: expected a number of computations, got ${background}`);
  }
  const keepalive = options.keepalive ?? values.keepalive;
  const maxIdle = options.maxIdle ?? values.maxIdle;
  return {
    call: positive(options.callTimeout ?? values.call, 'callTimeout'),
    connect: positive(options.connectTimeout ?? values.connect, 'connectTimeout'),
    wait: span(options.wait ?? WAIT_MS, 'wait'),
    waitMargin: positive(options.waitMargin ?? values.waitMargin, 'waitMargin'),
    background,
    keepalive:
      keepalive === undefined || keepalive === false ? undefined : positive(keepalive, 'keepalive'),
    keepaliveTimeout: positive(
      options.keepaliveTimeout ?? KEEPALIVE_TIMEOUT_MS, 'keepaliveTimeout',
    ),
    maxIdle: maxIdle === undefined ? undefined : positive(maxIdle, 'maxIdle'),
  };
}

/** The headers of all calls. */
export function headers({ schemaVersion }: ClientOptions): Record<string, string> | undefined {
  if (schemaVersion === undefined) return undefined;
  if (typeof schemaVersion !== 'string' || !/^[A-Za-z0-9._-]{1,64}$/.test(schemaVersion)) {
    throw new TypeError('schemaVersion: expected 1 to 64 of A-Za-z0-9._-');
  }
  return { 'larder-schema-version': schemaVersion };
}

/** The connections that the options and the environment describe. Does not connect. */
export function grpcTransport(options: ClientOptions): GrpcTransport {
  const { env } = process;
  const address = options.target ?? (env.LARDER_ENDPOINT || '127.0.0.1:50051');
  const target = parseTarget(address);
  const files = {
    caFile: options.caFile ?? (env.LARDER_CA_FILE || undefined),
    certFile: options.certFile ?? (env.LARDER_CERT_FILE || undefined),
    keyFile: options.keyFile ?? (env.LARDER_KEY_FILE || undefined),
  };
  const tls = options.tls ?? (files.caFile ?? files.certFile ?? files.keyFile) !== undefined;
  const token = options.token ?? (env.LARDER_TOKEN || undefined);
  if (token !== undefined && !tls && !target.loopback && options.allowPlaintextToken !== true) {
    throw new TypeError(
      `token: not sent over plain text to ${address}: use TLS, or set allowPlaintextToken`,
    );
  }
  const { connect, keepalive, keepaliveTimeout, maxIdle } = limits(options);
  return new GrpcTransport({
    target,
    authorization: token === undefined ? undefined : new Authorization(token),
    certificates: tls ? new Certificates(files) : undefined,
    keepalive,
    keepaliveTimeout,
    maxIdle,
    connectTimeout: connect,
    serverName: options.serverName,
    channelOptions: options.channelOptions ?? {},
  });
}
