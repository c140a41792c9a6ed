import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll } from 'vitest';
import { Client, type ClientOptions } from '../src/index.js';
import { FakeLarder, type FakeLarderOptions, LarderServer, type LarderServerOptions }
  from '../src/testing.js';

/** A name that no other test has. */
export function fresh(head = 't'): string {
  return `${head}-${randomBytes(6).toString('hex')}`;
}

/** A server and a client for the tests of a file. */
export function useServer(options: LarderServerOptions = {}, clientOptions: ClientOptions = {}) {
  const used = {} as { server: LarderServer; client: Client };
  beforeAll(async () => {
    used.server = await LarderServer.start(options);
    used.client = new Client({ target: used.server.target, preset: 'local', ...clientOptions });
  });
  afterAll(async () => {
    await used.client?.close();
    await used.server?.stop();
  });
  return used;
}

/** What the same tests run on. */
export const BACKENDS = ['server', 'fake'] as const;

/** The real server, or the fake: `connect` makes further clients, which end with the tests. */
export function useBackend(
  kind: (typeof BACKENDS)[number],
  serverOptions: LarderServerOptions = {},
  fakeOptions: FakeLarderOptions = {},
) {
  const used = {} as { client: Client; connect(options?: ClientOptions): Client };
  const clients: Client[] = [];
  let server: LarderServer | undefined;
  beforeAll(async () => {
    const fake = kind === 'fake' ? new FakeLarder(fakeOptions) : undefined;
    if (fake === undefined) server = await LarderServer.start(serverOptions);
    used.connect = (options = {}) => {
      const where = fake === undefined
        ? { target: server!.target }
        : { transport: fake.transport };
      const client = new Client({ ...where, preset: 'local', ...options });
      clients.push(client);
      return client;
    };
    used.client = used.connect();
  });
  afterAll(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await server?.stop();
  });
  return used;
}

/** Polls until `check` returns something true. */
export async function until<T>(
  check: () => T | Promise<T>,
  what: string,
  ms = 10_000,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value as NonNullable<T>;
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A promise with its functions. */
export function deferred<T = void>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
