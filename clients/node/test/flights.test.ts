// How computations of a process are shared, left and ended.
import { expect, test } from 'vitest';
import { Flights } from '../src/core/flights.js';
import { missResult, type Result } from '../src/core/results.js';
import { deferred } from './support.js';

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
