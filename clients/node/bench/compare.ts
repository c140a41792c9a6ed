/**
 * Compares the client with raw stubs on the same server:
 * `LARDER_BIN=... npm run bench -- SECONDS`. The ways take turns, and the median counts. On a
 * machine with other work the rates say little: the time of the processor per call is then what
 * compares.
 */
import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { fileURLToPath } from 'node:url';
import { CacheServiceClient } from '../src/gen/larder/v1/cache_service.js';
import { Client } from '../src/index.js';
import { LarderServer } from '../src/testing.js';

const ROUNDS = 7;
const MS = Number(process.argv[2] ?? 1) * 1000;
const VALUE = 'x'.repeat(1024);

interface Measure {
  /** Calls per second. */
  rate: number;
  /** Microseconds of the processor per call, in this process. */
  cpu: number;
}

/** Makes calls with so many in flight. */
async function measure(call: () => Promise<unknown>, inFlight: number): Promise<Measure> {
  const before = process.cpuUsage();
  const started = performance.now();
  const end = started + MS;
  let calls = 0;
  const worker = async () => {
    while (performance.now() < end) {
      await call();
      calls += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  const { user, system } = process.cpuUsage(before);
  return { rate: (calls * 1000) / (performance.now() - started), cpu: (user + system) / calls };
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

async function compare(
  title: string,
  ways: Record<string, () => Promise<unknown>>,
  inFlight: number,
): Promise<void> {
  const measures: Record<string, Measure[]> = {};
  for (const call of Object.values(ways)) await measure(call, inFlight);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, call] of Object.entries(ways)) {
      (measures[name] ??= []).push(await measure(call, inFlight));
    }
  }
  console.log(`${title}, ${inFlight} in flight`);
  let first: Measure | undefined;
  for (const [name, each] of Object.entries(measures)) {
    const rate = median(each.map((one) => one.rate));
    const cpu = median(each.map((one) => one.cpu));
    first ??= { rate, cpu };
    const line = [
      name.padEnd(16),
      `${rate.toFixed(0).padStart(8)}/s`, (rate / first.rate).toFixed(2),
      `${cpu.toFixed(1).padStart(9)} us`, (first.cpu / cpu).toFixed(2),
    ];
    console.log(`  ${line.join('  ')}`);
  }
}

const server = await LarderServer.start();
const client = new Client({ target: server.target, preset: 'local' });
const cache = client.namespace('bench');
await cache.set('k', VALUE);
const keys = Array.from({ length: 100 }, (_, index) => `k${index}`);
await cache.setMany(keys.map((key) => [key, VALUE] as const));

const stub = new CacheServiceClient(server.target, credentials.createInsecure());
const protos = fileURLToPath(new URL('../../../proto', import.meta.url));
const definition = loadSync('larder/v1/cache_service.proto', { includeDirs: [protos] });
const Loaded = (loadPackageDefinition(definition) as any).larder.v1.CacheService;
const loaded = new Loaded(server.target, credentials.createInsecure());

const request = {
  namespace: 'bench', key: 'k', params: {}, consistency: 0 as const, ifVersionNot: '',
  omitValue: false, jsonPointers: [],
};
const raw = (on: any) => () =>
  new Promise((resolve, reject) => {
    on.get(request, (error: unknown, answer: unknown) => {
      if (error === null) resolve(answer);
      else reject(error);
    });
  });
const batch = (on: any) => () =>
  new Promise((resolve, reject) => {
    const wanted = keys.map((key) => ({ namespace: 'bench', key, params: {} }));
    const call = on.batchGet({
      keys: wanted, consistency: 0, ifVersionsNot: [], omitValue: false, jsonPointers: [],
    });
    call.on('data', () => {}).on('end', resolve).on('error', reject);
  });
const set = (on: any) => () =>
  new Promise((resolve, reject) => {
    const value = { kind: { $case: 'text', value: VALUE } };
    on.set(
      { namespace: 'bench', key: 'w', params: {}, value, tags: [], leaseToken: Buffer.alloc(0) },
      (error: unknown, answer: unknown) => (error === null ? resolve(answer) : reject(error)),
    );
  });

for (const inFlight of [1, 32]) {
  await compare('Get of 1 KiB', {
    'generated stubs': raw(stub), 'proto-loader': raw(loaded), 'this client': () => cache.get('k'),
  }, inFlight);
}
await compare('Set of 1 KiB', {
  'generated stubs': set(stub), 'this client': () => cache.set('w', VALUE),
}, 32);
await compare('BatchGet of 100', {
  'generated stubs': batch(stub), 'proto-loader': batch(loaded),
  'this client': () => cache.getMany(keys),
}, 4);
let next = 0;
// Calls for one key at the same time would share an answer.
const key = () => keys[(next += 1) % keys.length]!;
await compare('GetOrFetch of a hit', {
  'get': () => cache.get(key()), 'getOrFetch': () => cache.getOrFetch(key(), () => VALUE),
}, 32);

const near = client.namespace('bench', { nearCache: true });
while ((await near.get('k')).tier !== 'client') await new Promise((done) => setTimeout(done, 5));
const CALLS = 200_000;
const times: number[] = [];
let cpu = Number.POSITIVE_INFINITY;
for (let round = 0; round < ROUNDS; round += 1) {
  const before = process.cpuUsage();
  const started = performance.now();
  for (let call = 0; call < CALLS; call += 1) await near.get('k');
  times.push(((performance.now() - started) * 1000) / CALLS);
  const { user, system } = process.cpuUsage(before);
  cpu = Math.min(cpu, (user + system) / CALLS);
}
const hit = median(times).toFixed(3);
console.log(`near cache: ${hit} us per hit, ${cpu.toFixed(3)} us of the processor`);

stub.close();
loaded.close();
await client.close();
await server.stop();
