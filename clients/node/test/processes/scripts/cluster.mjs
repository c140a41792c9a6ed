// The primary uses its client before it forks two workers, meanwhile and afterwards.
import cluster from 'node:cluster';
import { once } from 'node:events';

const { Client } = await import(process.env.LARDER_CLIENT);
const client = new Client({ preset: 'local' });
const entries = client.namespace('cluster');
const near = client.namespace('cluster-near', { nearCache: true });
const run = process.argv[2];

if (cluster.isPrimary) {
  await entries.set(`${run}-primary`, process.pid);
  await near.get('k');
  const workers = [cluster.fork(), cluster.fork()];
  const exits = workers.map((worker) => once(worker, 'exit'));
  const answers = await Promise.all(workers.map((worker) => once(worker, 'message')));
  const facts = answers.map(([message]) => message);
  const seen = await Promise.all(facts.map(async (each) =>
    (await entries.get(`${run}-${each.pid}`)).value));
  for (const worker of workers) worker.disconnect();
  const codes = (await Promise.all(exits)).map(([code]) => code);
  await client.close();
  console.log(JSON.stringify({ primary: process.pid, facts, seen, codes }));
} else {
  let loads = 0;
  await entries.set(`${run}-${process.pid}`, process.pid);
  const shared = await Promise.all(
    Array.from({ length: 50 }, () =>
      entries.getOrFetch(`${run}-shared`, async () => {
        loads += 1;
        await new Promise((resolve) => setTimeout(resolve, 300));
        return process.pid;
      })),
  );
  const message = {
    pid: process.pid,
    primary: (await entries.get(`${run}-primary`)).value,
    own: (await entries.get(`${run}-${process.pid}`)).value,
    shared: [...new Set(shared.map((result) => result.value))],
    loads,
  };
  // It does not close its client: after disconnect, nothing keeps the process alive.
  process.send(message);
}
