// A worker thread with a client of its own.
import { parentPort, threadId, workerData } from 'node:worker_threads';

const { Client } = await import(process.env.LARDER_CLIENT);
const { target, run, forever } = workerData;
const client = new Client({ target, preset: 'local' });
const entries = client.namespace('threads', { ttl: '1m' });
const near = client.namespace('threads-near', { nearCache: true });
let loads = 0;

if (forever) {
  // Until it is terminated: calls, a feed, and a computation that never ends.
  await near.get('k');
  void entries.getOrFetch(`${run}-forever`, () => {
    parentPort.postMessage('loading');
    return new Promise(() => {});
  });
  for (;;) await entries.get('k');
} else {
  const load = async () => {
    loads += 1;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return 'value';
  };
  await entries.set(`${run}-${threadId}`, threadId);
  await near.set(`${run}-${threadId}`, threadId);
  const shared = await Promise.all(
    Array.from({ length: 50 }, () => entries.getOrFetch(`${run}-shared`, load)),
  );
  const facts = {
    own: (await entries.get(`${run}-${threadId}`)).value,
    near: (await near.get(`${run}-${threadId}`)).value,
    shared: [...new Set(shared.map((result) => result.value))],
    loads,
    threadId,
  };
  await client.close();
  parentPort.postMessage(facts);
}
