// The client with servers of an earlier and of a later release.
import * as grpc from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { GetResponse, SetResponse, BatchGetResponse } from '../src/gen/larder/v1/cache_service.js';
import { Client, Unimplemented } from '../src/index.js';

type Answers = Record<string, Buffer | Uint8Array>;

// Fields that no release has: number 1999 of the wire types varint and length-delimited.
const UNKNOWN = Buffer.from([0xf8, 0x7c, 0x07, 0xfa, 0x7c, 0x03, 0x6e, 0x65, 0x77]);
// A value of an enum that no release has.
const LATER = 1234 as never;

const METHODS = ['Get', 'Set', 'GetOrFetch', 'Invalidate', 'Patch', 'BatchGet', 'Watch'];
const STREAMED = new Set(['BatchGet', 'Watch']);

const running: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of running.splice(0).reverse()) await end();
});

/** A server that has only some methods, and answers with any bytes. */
async function serve(answers: Answers): Promise<{ client: Client; calls: string[] }> {
  const raw = (bytes: Buffer) => bytes;
  const definition: Record<string, grpc.MethodDefinition<Buffer, Buffer>> = {};
  const calls: string[] = [];
  const handlers: Record<string, unknown> = {};
  for (const name of METHODS) {
    definition[name] = {
      path: `/larder.v1.CacheService/${name}`,
      requestStream: false,
      responseStream: STREAMED.has(name),
      requestSerialize: raw,
      requestDeserialize: raw,
      responseSerialize: raw,
      responseDeserialize: raw,
    };
    handlers[name] = (call: any, done: any) => {
      calls.push(name);
      const answer = answers[name];
      if (answer === undefined) {
        const error = { code: grpc.status.UNIMPLEMENTED, details: 'unknown method' };
        if (STREAMED.has(name)) call.emit('error', error);
        else done(error);
      } else if (STREAMED.has(name)) {
        call.write(Buffer.from(answer));
        call.end();
      } else {
        done(null, Buffer.from(answer));
      }
    };
  }
  const server = new grpc.Server();
  server.addService(definition, handlers as grpc.UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const client = new Client({ target: `127.0.0.1:${port}`, preset: 'local' });
  running.push(() => server.forceShutdown(), () => client.close());
  return { client, calls };
}

const later = (bytes: Uint8Array) => Buffer.concat([bytes, UNKNOWN]);
const text = (value: string) => ({ kind: { $case: 'text' as const, value } });
const hit = (entry: object, outcome = 1 as never) =>
  GetResponse.encode(
    GetResponse.fromPartial({ outcome, value: text('x'), entry: { version: 'v', ...entry } }),
  ).finish();

test('fields of a later release are ignored', async () => {
  const stored = SetResponse.encode(SetResponse.fromPartial({ result: 1, version: 'w' })).finish();
  const answers = { Get: later(hit({ tags: ['t'], tier: LATER })), Set: later(stored) };
  const { client } = await serve(answers);
  const users = client.namespace('users');
  expect(await users.get('k')).toMatchObject({ value: 'x', version: 'v', tags: ['t'] });
  expect((await users.get('k')).tier).toBeUndefined();
  expect(await users.set('k', 1)).toMatchObject({ stored: true, version: 'w' });
});

test('an unknown outcome is a miss', async () => {
  const batch = BatchGetResponse.fromPartial({ results: [{ outcome: LATER }] });
  const answers = { Get: hit({}, LATER), BatchGet: BatchGetResponse.encode(batch).finish() };
  const users = (await serve(answers)).client.namespace('users');
  expect(await users.get('k')).toMatchObject({ outcome: 'MISS', found: false, value: null });
  expect((await users.getMany(['k'])).get('k')?.outcome).toBe('MISS');
});

test('an unknown result of a write is not stored', async () => {
  const answer = SetResponse.encode(SetResponse.fromPartial({ result: LATER })).finish();
  const { client } = await serve({ Set: answer });
  expect((await client.namespace('users').set('k', 1)).stored).toBe(false);
});

test('an unknown kind of value is an undecodable miss', async () => {
  // Field 9 of Value, such as a new kind of value would be.
  const { client } = await serve({ Get: Buffer.from([0x08, 1, 0x12, 3, 0x4a, 1, 0x78]) });
  const found = await client.namespace('users').get('k');
  expect(found.outcome).toBe('MISS');
  expect(found.error).toBeDefined();
  expect(client.counters().users?.undecodable).toBe(1);
});

test('an unknown answer of GetOrFetch runs the loader', async () => {
  const { client, calls } = await serve({ GetOrFetch: UNKNOWN });
  const result = await client.namespace('users').getOrFetch('k', () => 7);
  expect(result).toMatchObject({ value: 7, tier: 'loader' });
  expect(result.stored?.stored).toBe(false);
  expect(calls).toEqual(['GetOrFetch']);
});

test('a method that the server does not have is an error of its own', async () => {
  const { client, calls } = await serve({ Get: Buffer.alloc(0) });
  const users = client.namespace('users');
  await expect(users.invalidate({ tags: ['t'] })).rejects.toBeInstanceOf(Unimplemented);
  await expect(users.patch('k', { merge: { a: 1 } })).rejects.toBeInstanceOf(Unimplemented);
  expect((await users.get('k')).found).toBe(false);
  // None is repeated.
  expect(calls).toEqual(['Invalidate', 'Patch', 'Get']);
});

test('without Watch the near cache is not used', async () => {
  const entry = { tier: 2 as never, ttlRemaining: { seconds: 60n, nanos: 0 } };
  const { client, calls } = await serve({ Get: hit(entry) });
  const users = client.namespace('users', { nearCache: true });
  for (let call = 0; call < 20; call += 1) {
    expect((await users.get('k')).tier).toBe('store');
  }
  expect(calls.filter((name) => name === 'Get')).toHaveLength(20);
});
