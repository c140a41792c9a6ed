import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { createServer, connect, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { Client, type ClientOptions } from '../src/index.js';
import { Authorization, Certificates } from '../src/transport/credentials.js';
import { parseTarget } from '../src/transport/targets.js';
import { LarderServer } from '../src/testing.js';
import { fresh, until, useServer } from './support.js';

const used = useServer();
const directory = mkdtempSync(join(tmpdir(), 'larder-node-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function clientOf(options: ClientOptions): Client {
  const client = new Client({ logger: null, preset: 'local', ...options });
  onTestFinished(() => client.close());
  return client;
}

describe('targets', () => {
  test.each([
    ['127.0.0.1:5', true],
    ['localhost:5', true],
    ['[::1]:5', true],
    ['unix:/run/larder.sock', true],
    ['dns:///cache.internal:50051', false],
    ['dns://8.8.8.8/cache:50051', false],
    ['10.0.0.1:5', false],
    ['127.0.0.1:5,10.0.0.1:5', false],
    ['127.0.0.1:5, [::1]:6', true],
  ])('%s is on this machine: %s', (target, loopback) => {
    expect(parseTarget(target).loopback).toBe(loopback);
  });

  test.each(['', 'host', 'host:0', 'host:99999', ':50051', 'http://host:5', 'a:1,,b:2', 'a:x'])(
    '%j is refused',
    (target) => expect(() => parseTarget(target)).toThrow('target: '),
  );

  test('several addresses share the calls, and one that is away is left out', async () => {
    const other = await LarderServer.start();
    const target = `${used.server.target},localhost:${other.target.split(':')[1]}`;
    const client = clientOf({ target });
    const cache = client.namespace(fresh());
    const count = async (server: string) => {
      const single = clientOf({ target: server });
      const stats = await single.namespace(cache.name).stats();
      return stats?.counted?.total?.misses ?? 0;
    };
    // Both are connected to when both have counted a call.
    await until(async () => {
      for (let call = 0; call < 10; call += 1) await cache.get('k');
      return (await count(used.server.target)) > 0 && (await count(other.target)) > 0;
    }, 'both servers are asked');
    await other.stop();
    await until(async () => !(await cache.get('k')).degraded, 'the other server answers');
    for (let call = 0; call < 20; call += 1) expect((await cache.get('k')).degraded).toBe(false);
  });

  test('a unix socket', async () => {
    const path = join(directory, 'larder.sock');
    const [host, port] = used.server.target.split(':');
    const proxy: Server = createServer((socket) => {
      socket.pipe(connect(Number(port), host!)).pipe(socket);
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => { proxy.listen(path, resolve); });
    const client = clientOf({ target: `unix:${path}`, token: 'may-be-sent-here' });
    expect(await client.namespace('n').set('k', 1)).toMatchObject({ stored: true });
    await client.close();
    proxy.close();
  });
});

describe('credentials', () => {
  const certs = (...names: string[]) => {
    execFileSync(process.env.LARDER_BIN ?? 'larder', [
      'certs', '--out', directory, '--force', ...names.flatMap((name) => ['--client', name]),
    ], { stdio: 'ignore' });
    const at = (name: string) => join(directory, name);
    return at;
  };

  test('TLS with a certificate of the client, which is read again when it changes', async () => {
    const at = certs('one', 'two');
    const server = await LarderServer.start({
      config: `
[tls]
cert = "${at('server.crt')}"
key = "${at('server.key')}"
client_ca = "${at('ca.crt')}"
client_cert = "required"
`,
    });
    onTestFinished(() => server.stop());
    for (const kind of ['crt', 'key']) copyFileSync(at(`client-one.${kind}`), at(`client.${kind}`));
    const files = {
      caFile: at('ca.crt'), certFile: at('client.crt'), keyFile: at('client.key'),
    };
    const client = clientOf({ target: server.target, token: 'secret', ...files });
    await client.connect();
    expect(await client.namespace('n').set('k', 1)).toMatchObject({ stored: true });
    const without = clientOf({ target: server.target, caFile: files.caFile });
    expect(await without.namespace('n').get('k')).toMatchObject({ degraded: true });

    const certificates = new Certificates(files);
    certificates.credentials();
    expect(certificates.changed()).toBe(false);
    (certificates as unknown as { checkedAt: number }).checkedAt = -Infinity;
    expect(certificates.changed()).toBe(false);
    for (const kind of ['crt', 'key']) copyFileSync(at(`client-two.${kind}`), at(`client.${kind}`));
    utimesSync(at('client.crt'), 1, 1);
    (certificates as unknown as { checkedAt: number }).checkedAt = -Infinity;
    expect(certificates.changed()).toBe(true);
    expect(() => new Certificates({ certFile: 'x' })).toThrow('certFile and keyFile');
    expect(() => clientOf({ target: server.target, caFile: '/none' }).stubs).toThrow('ENOENT');
  });

  test('files that cannot be read are an outage of the calls', async () => {
    const facts = { code: 'UNAVAILABLE', reason: 'CERTIFICATES', cause: { code: 'ENOENT' } };
    const cache = clientOf({ target: used.server.target, caFile: '/none' }).namespace('n');
    expect(await cache.get('k')).toMatchObject({ degraded: true, error: facts });
    expect(await cache.getOrFetch('k', () => 1)).toMatchObject({ value: 1, degraded: true });
    expect((await cache.getMany(['k'])).get('k')).toMatchObject({ error: facts });
    await expect(cache.delete('k')).rejects.toMatchObject(facts);
  });

  test('a token is not sent over plain text to another machine', () => {
    const token = 'secret';
    expect(() => clientOf({ target: '10.0.0.1:50051', token })).toThrow('plain text');
    expect(() => clientOf({ target: `127.0.0.1:5,10.0.0.1:5`, token })).toThrow('plain text');
    clientOf({ target: '10.0.0.1:50051', token, allowPlaintextToken: true });
    clientOf({ target: '10.0.0.1:50051', token, tls: true });
    clientOf({ target: '127.0.0.1:50051', token });
    expect(() => clientOf({ token: 'line\nbreak' })).toThrow('token: expected');
  });

  test('a token is kept until shortly before it expires, whatever the clock says', async () => {
    let asked = 0;
    const now = Date.now;
    onTestFinished(() => { Date.now = now; });
    const authorization = new Authorization(async () => {
      asked += 1;
      return { token: `t${asked}`, expiresAt: new Date(now() + 3_600_000) };
    });
    expect(await authorization.get()).toBe('Bearer t1');
    Date.now = () => now() + 86_400_000;
    expect(authorization.get()).toBe('Bearer t1');
    authorization.refuse();
    Date.now = now;
    expect(await Promise.all([authorization.get(), authorization.get()])).toEqual([
      'Bearer t2', 'Bearer t2',
    ]);
  });

  test('a server with permissions', async () => {
    const server = await LarderServer.start({
      config: `
[auth]
mode = "enforce"
[auth.principals.app]
tokens = ["\${env:APP_TOKEN}"]
roles = ["reader"]
[auth.roles.reader]
allow = [{ verbs = ["read"], namespaces = ["*"] }]
`,
      env: { APP_TOKEN: 'a-token-of-the-app-with-32-characters' },
    });
    onTestFinished(() => server.stop());
    const token = 'a-token-of-the-app-with-32-characters';
    const reader = clientOf({ target: server.target, token }).namespace('n');
    expect((await reader.get('k')).outcome).toBe('MISS');
    await expect(reader.set('k', 1)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
    const nobody = clientOf({ target: server.target }).namespace('n');
    await expect(nobody.get('k')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });
});

describe('a client', () => {
  test('schema versions do not read each other', async () => {
    const { target } = used.server;
    const one = clientOf({ target, schemaVersion: 'v1' }).namespace('schema');
    const two = clientOf({ target, schemaVersion: 'v2' }).namespace('schema');
    await one.set('k', 1);
    expect((await two.get('k')).outcome).toBe('MISS');
    expect((await one.get('k')).value).toBe(1);
    expect(() => clientOf({ schemaVersion: 'a b' })).toThrow('schemaVersion');
  });

  test('an answer that is larger than the client takes is a mistake, and no outage', async () => {
    const options = { 'grpc.max_receive_message_length': 1000 };
    const client = clientOf({ target: used.server.target, channelOptions: options });
    const cache = client.namespace(fresh());
    await cache.set('k', 'x'.repeat(5000));
    await expect(cache.get('k')).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED', reason: 'MESSAGE_TOO_LARGE',
    });
  });

  test('prefixes, stubs and options', async () => {
    const { target } = used.server;
    const client = clientOf({ target, namespacePrefix: 'app.' });
    expect(client.namespace('users').wireName).toBe('app.users');
    expect(client.namespace('Users').wireName).toMatch(/^x--app.users-/);
    await client.namespace('users').set('k', 'v');
    const answer = await new Promise((resolve, reject) => {
      client.stubs.cache.get(
        { namespace: 'app.users', key: 'k', params: {}, consistency: 0, ifVersionNot: '',
          omitValue: false, jsonPointers: [] },
        (error, response) => (error === null ? resolve(response) : reject(error)),
      );
    });
    expect(answer).toMatchObject({ value: { kind: { value: 'v' } } });
    expect(() => clientOf({ preset: 'fast' as never })).toThrow('preset: expected service');
    expect(() => clientOf({ callTimeout: 0 })).toThrow('callTimeout: must be positive');
    expect(() => client.namespace('')).toThrow('namespace: expected');
  });

  test('calls after close throw, computations end, leases are given up', async () => {
    const { target } = used.server;
    const client = new Client({ target, preset: 'local' });
    const cache = client.namespace(fresh());
    let running = false;
    const call = cache.getOrFetch('k', () => {
      running = true;
      return new Promise<number>(() => {});
    });
    const ended = expect(call).rejects.toMatchObject({ reason: 'CLIENT_CLOSED' });
    await until(() => running, 'the loader runs');
    await Promise.all([client.close(), client.close()]);
    await ended;
    await client.close();
    await expect(cache.get('k')).rejects.toMatchObject({ reason: 'CLIENT_CLOSED' });
    await expect(cache.getOrFetch('k', () => 1)).rejects.toMatchObject({ code:
      'FAILED_PRECONDITION' });
    await expect(client.connect()).rejects.toMatchObject({ reason: 'CLIENT_CLOSED' });
    const next = await used.client.namespace(cache.name).getOrFetch('k', () => 1, { timeout: 0 });
    expect(next.stored).toMatchObject({ stored: true });
    await using disposed = new Client({ target });
    await disposed.connect();
  });

  test('a frozen clock does not break it', async () => {
    const real = Date.now;
    const frozen = real() + 1001;
    onTestFinished(() => { Date.now = real; });
    const cache = clientOf({ target: used.server.target }).namespace(fresh());
    Date.now = () => frozen;
    await cache.set('k', 1);
    expect((await cache.get('k')).value).toBe(1);
    expect((await cache.getOrFetch('c', () => 2)).stored).toMatchObject({ stored: true });
    Date.now = () => frozen + 10 * 86_400_000;
    expect((await cache.get('k')).value).toBe(1);
    Date.now = () => 0;
    expect((await cache.get('k')).value).toBe(1);
  });

  test('many calls can have one signal', async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on('warning', listen);
    onTestFinished(() => { process.off('warning', listen); });
    const cache = used.client.namespace(fresh());
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 30 }, (_, index) => Promise.all([
      cache.get(`k${index}`, { signal }),
      cache.getOrFetch(`f${index}`, () => index, { signal }),
      cache.getOrFetchMany([`m${index}`], () => ({}), { signal }),
    ])));
    await new Promise((resolve) => { setImmediate(resolve); });
    expect(warnings).toEqual([]);
  });

  test('the tenth live client is warned of', async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on('warning', listen);
    onTestFinished(() => { process.off('warning', listen); });
    const clients = Array.from({ length: 9 }, () => new Client({ target: used.server.target }));
    await until(() => warnings.length, 'the warning');
    expect(warnings[0]).toMatchObject({ code: 'LARDER_MANY_CLIENTS' });
    await Promise.all(clients.map((client) => client.close()));
  });
});
