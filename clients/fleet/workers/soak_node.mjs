// All kinds of calls, until `end`.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';

const { Client, LarderError } = await import(process.env.LARDER_CLIENT);

const KEYS = 400;
// Relative frequencies of the calls.
const CALLS = {
  get: 30, near: 25, fetch: 30, many: 5, fetchMany: 4, set: 8, setMany: 2, touch: 2, delete: 2,
  increment: 3, invalidate: 2,
};
const lots = Object.entries(CALLS).flatMap(([name, weight]) => Array(weight).fill(name));
const OUTAGES = new Set([
  'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED', 'INTERNAL', 'UNKNOWN',
  'CANCELLED',
]);
class Boom extends Error {}

const notes = {
  calls: Object.fromEntries(Object.keys(CALLS).map((name) => [name, 0])),
  raised: [], wrong: [], hits: 0, degraded: 0, refused: 0, longest: 0, slowest: '', causes: {},
  left: {},
};
const client = new Client({ logger: null });
const entries = client.namespace('soak', { tags: ['all'] });
const near = client.namespace('soak', { nearCache: { maxEntries: 200 } });
const counts = client.namespace('soak-counts');
let ending = false;
let sequence = 0;

const between = (low, high) => low + Math.random() * (high - low);
const someKey = () => `k${Math.floor(KEYS * Math.random() ** 2)}`;
const someKeys = () => [...new Set(Array.from({ length: 20 }, someKey))];

/** A value with its key and a checksum, as all workers write and check it. */
function valueOf(key) {
  sequence += 1;
  return { key, writer: 'node', seq: sequence, sum: crc32(`${key}|node|${sequence}`) };
}

function read(key, result) {
  if (result.degraded) {
    const cause = result.error?.reason || result.error?.code || 'server';
    notes.degraded += 1;
    notes.causes[cause] = (notes.causes[cause] ?? 0) + 1;
  }
  if (!result.found) return;
  notes.hits += 1;
  const value = result.value;
  const sum = crc32(`${key}|${value?.writer}|${value?.seq}`);
  if ((value?.key !== key || value.sum !== sum) && notes.wrong.length < 100) {
    notes.wrong.push(`${key}: ${JSON.stringify(value)}`);
  }
}

async function load(key) {
  await sleep(between(1, 50));
  if (Math.random() < 0.01) throw new Boom();
  return valueOf(key);
}

async function loadMany(keys) {
  await sleep(between(1, 50));
  return new Map(keys.map((key) => [key, valueOf(key)]));
}

const make = {
  get: async (key) => read(key, await entries.get(key)),
  near: async (key) => read(key, await near.get(key)),
  async fetch(key) {
    const options = { tags: [`t-${key.at(-1)}`] };
    // A caller that loses patience: the others get the value all the same.
    const impatient = Math.random() < 0.05;
    if (impatient) options.signal = AbortSignal.timeout(10);
    try {
      read(key, await entries.getOrFetch(key, () => load(key), options));
    } catch (error) {
      if (!(impatient && error?.name === 'TimeoutError')) throw error;
    }
  },
  async many() {
    for (const [key, result] of await entries.getMany(someKeys())) read(key, result);
  },
  async fetchMany() {
    const results = await entries.getOrFetchMany(someKeys(), loadMany);
    for (const [key, result] of results) read(key, result);
  },
  set: (key) => entries.set(key, valueOf(key), { ttl: between(1000, 30_000) }),
  setMany: () => entries.setMany(new Map(someKeys().map((key) => [key, valueOf(key)]))),
  touch: (key) => entries.touch(key, 20_000),
  delete: (key) => entries.delete(key),
  increment: (key) => counts.increment(key),
  invalidate: (key) => near.invalidate({ tags: [`t-${key.at(-1)}`] }),
};

function failed(call, error) {
  if (error instanceof Boom && (call === 'fetch' || call === 'fetchMany')) return;
  const outage = error instanceof LarderError && OUTAGES.has(error.code);
  if (outage && ['delete', 'increment', 'invalidate'].includes(call)) {
    notes.refused += 1;
  } else if (notes.raised.length < 100) {
    notes.raised.push(`${call}: ${error?.stack ?? error}`.slice(0, 500));
  }
}

async function caller() {
  while (!ending) {
    const call = lots[Math.floor(Math.random() * lots.length)];
    const began = performance.now();
    try {
      await make[call](someKey());
    } catch (error) {
      failed(call, error);
    }
    notes.calls[call] += 1;
    const took = (performance.now() - began) / 1000;
    if (took > notes.longest) Object.assign(notes, { longest: took, slowest: call });
    // A near hit is answered without the event loop: it must get its turn.
    if (took < 0.0001) await new Promise((resolve) => setImmediate(resolve));
  }
}

const { callers } = JSON.parse(process.argv[2]);
await client.connect(20_000);
const running = Array.from({ length: callers }, caller);
console.log('"ready"');
for await (const _ of createInterface({ input: process.stdin })) break;
ending = true;
await Promise.all(running);
await client.close();

// Pipes are the standard streams; setImmediate is no timer and not in the list.
process.stdin.destroy();
const left = () => process.getActiveResourcesInfo().filter((each) => !/TTY|Pipe|FSReq/.test(each));
const deadline = performance.now() + 12_000;
while (left().length > 0 && performance.now() < deadline) {
  await new Promise((resolve) => setImmediate(resolve));
}
if (left().length > 0) notes.left = { resources: left() };
console.log(JSON.stringify(notes));
