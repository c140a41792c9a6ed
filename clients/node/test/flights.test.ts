// How computations of a process are shared, left and ended.
import { expect, test } from 'vitest';
import { Flights } from '../src/core/flights.js';
import { missResult, type Result } from '../src/core/results.js';
import { Client } from '../src/index.js';
import { FakeLarder } from '../src/testing.js';
import { deferred, until } from './support.js';

const PLACE = { id: 'i', namespace: 'n', key: 'k', timeout: undefined };

test('a call does not join a computation that its callers have left', async () => {
  const flights = new Flights();
  const gate = deferred<Result<number>>();
  const leaving = new AbortController();
  const first = flights.run<number>({
    ...PLACE, signal: undefined, compute: () => gate.promise,
  });
  // Both join, and ask again together: the one that asks leaves at once.
  const second = flights.run<number>({
    ...PLACE,
    signal: leaving.signal,
    compute: (signal) => new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      leaving.abort(new Error('gone'));
    }),
  });
  const left = expect(second).rejects.toThrow('gone');
  const third = flights.run<number>({
    ...PLACE, signal: new AbortController().signal, compute: async () => missResult(true),
  });
  gate.resolve(missResult(false));
  expect(await first).toMatchObject({ joined: false, result: { degraded: false } });
  await left;
  expect(await third).toMatchObject({ joined: false, result: { degraded: true } });
});

test('close ends computations that later calls do not join', async () => {
  const fake = new FakeLarder();
  const client = new Client({ transport: fake.transport, logger: null });
  const cache = client.namespace('n');
  let aborted = false;
  let running = false;
  const call = cache.getOrFetch('k', ({ signal }) => new Promise<number>(() => {
    running = true;
    signal.addEventListener('abort', () => { aborted = true; });
  }));
  const ended = expect(call).rejects.toMatchObject({ reason: 'CLIENT_CLOSED' });
  await until(() => running, 'the loader runs');
  await cache.invalidate({ tags: ['any'] });
  await client.close();
  expect(aborted).toBe(true);
  await ended;
  // Its lease was given up.
  expect(fake.calls.filter(({ method }) => method === 'Abandon')).toHaveLength(1);
});
