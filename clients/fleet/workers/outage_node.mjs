// Reads without a pause between the phases of an outage.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const { Client } = await import(process.env.LARDER_CLIENT);
const PAUSE_MS = 10;
const client = new Client({ logger: null });
const entries = client.namespace('outage');
const times = [];
const raised = [];
const wrong = [];
let phase = 'before';
let after = 0;
let upSince;
let back = null;

function note(result, began, inPhase) {
  const now = performance.now();
  const real = !result.degraded && !result.error;
  if (inPhase === 'down') {
    times.push((now - began) / 1000);
  } else if (inPhase === 'up') {
    after += 1;
    if (real && back === null) back = (now - upSince) / 1000;
  } else if (inPhase === 'before' && !real) {
    wrong.push(`before the outage: ${result.outcome} ${result.error}`);
  }
}

async function caller(number) {
  for (let turn = 0; phase !== 'end'; turn += 1) {
    const key = `node-${number}-${turn % 20}`;
    const inPhase = phase;
    try {
      let began = performance.now();
      note(await entries.get(key), began, inPhase);
      began = performance.now();
      const result = await entries.getOrFetch(key, async () => key);
      if (result.value !== key) wrong.push(`${key}: ${result.value}`);
      note(result, began, inPhase);
    } catch (error) {
      raised.push(String(error));
    }
    await sleep(PAUSE_MS);
  }
}

await client.connect(20_000);
const { callers } = JSON.parse(process.argv[2]);
const running = Array.from({ length: callers }, (_, number) => caller(number));
console.log('"ready"');
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'up') upSince = performance.now();
  phase = line;
  if (phase === 'end') break;
}
await Promise.all(running);
await client.close();
times.sort((a, b) => a - b);
console.log(JSON.stringify({
  down: times.length,
  p50: times[Math.floor(times.length / 2)],
  p99: times[Math.floor(times.length * 0.99)],
  longest: times.at(-1),
  raised, wrong, after, back,
}));
process.stdin.destroy();
