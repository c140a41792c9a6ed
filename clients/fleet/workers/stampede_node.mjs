// Calls of one key in many promises.
import { createInterface } from 'node:readline';

const { Client } = await import(process.env.LARDER_CLIENT);
const { calls } = JSON.parse(process.argv[2]);
const client = new Client({ callTimeout: 10_000, waitMargin: 10_000 });
const entries = client.namespace('fleet');
await client.connect(20_000);
console.log('"ready"');

for await (const key of createInterface({ input: process.stdin })) {
  if (key === 'end') break;
  let loads = 0;
  // Takes a second, as an expensive query does.
  const load = async () => {
    loads += 1;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return `${key} by node`;
  };
  const done = await Promise.all(
    Array.from({ length: calls }, async () => {
      const began = performance.now();
      const result = await entries.getOrFetch(key, load, { timeout: 30_000 });
      return { result, took: (performance.now() - began) / 1000 };
    }),
  );
  console.log(JSON.stringify({
    loads,
    values: [...new Set(done.map(({ result }) => String(result.value)))],
    slowest: Math.max(...done.map(({ took }) => took)),
    wrong: done
      .filter(({ result }) => result.error || !result.found)
      .slice(0, 3)
      .map(({ result }) => `${result.outcome} ${result.error}`),
  }));
}
await client.close();
process.stdin.destroy();
