import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { beforeAll, expect, it } from 'vitest';
import { fresh, useServer } from '../support.js';
import { bundledClient, scriptPath } from './support.js';

const used = useServer();
let client: string;
beforeAll(async () => {
  client = await bundledClient();
});

function thread(workerData: Record<string, unknown>): Worker {
  const env = { ...process.env, LARDER_CLIENT: client };
  return new Worker(scriptPath('thread.mjs'), {
    env,
    workerData: { target: used.server.target, ...workerData },
  });
}

it('a client in each of four threads', async () => {
  const run = fresh();
  const workers = Array.from({ length: 4 }, () => thread({ run }));
  const exits = workers.map((worker) => once(worker, 'exit'));
  const answers = await Promise.all(workers.map((worker) => once(worker, 'message')));
  for (const [facts] of answers) {
    expect(facts.own).toBe(facts.threadId);
    expect(facts.near).toBe(facts.threadId);
    expect(facts.shared).toEqual(['value']);
  }
  // 200 calls in four threads, one computation.
  expect(answers.reduce((sum, [facts]) => sum + facts.loads, 0)).toBe(1);
  // After close nothing keeps a thread alive.
  for (const exit of exits) expect(await exit).toEqual([0]);
});

it('terminate() ends a thread in the middle of its calls', async () => {
  const run = fresh();
  const worker = thread({ run, forever: true });
  expect((await once(worker, 'message'))[0]).toBe('loading');
  const began = performance.now();
  await worker.terminate();
  expect(performance.now() - began).toBeLessThan(5000);
  // The clients of other threads go on, and the lease of the thread that died runs out.
  const result = await used.client
    .namespace('threads')
    .getOrFetch(`${run}-forever`, () => 'mine', { timeout: 15_000 });
  expect(result.value).toBe('mine');
});
