// Measures the client beside ioredis, on the same Redis and in turns.
//
//   LARDER_BIN=target/release/larder node bench/redis-clients.mjs [SECONDS]
//
// A read through Larder is one more hop: this is what it costs. ioredis reads the same 1 KiB.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Client } from '../dist/index.js';
import { LarderServer } from '../dist/testing.js';

const VALUE = 'x'.repeat(1024);
const KEYS = Array.from({ length: 100 }, (_, number) => `key${number}`);
const ROUNDS = 5;
const seconds = Number(process.argv[2] ?? 1);

/** Calls per second with so many in flight. */
async function rate(call, inFlight) {
  const start = performance.now();
  let count = 0;
  const work = async () => {
    while (performance.now() - start < seconds * 1000) {
      await call();
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, work));
  return (count * 1000) / (performance.now() - start);
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const whole = (value) => Math.round(value).toLocaleString('en').padStart(9);

async function compare(name, theirs, own, inFlight) {
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.push([await rate(theirs, inFlight), await rate(own, inFlight)]);
  }
  const ratio = median(rounds.map(([a, b]) => b / a));
  console.log(
    `${name.padEnd(24)} ioredis ${whole(median(rounds.map(([a]) => a)))}/s  ` +
      `larder ${whole(median(rounds.map(([, b]) => b)))}/s  ratio ${ratio.toFixed(2)}`,
  );
}

const folder = mkdtempSync(path.join(tmpdir(), 'larder-bench-'));
const socket = path.join(folder, 'redis.sock');
const redisServer = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', ''], {
  cwd: folder,
  stdio: 'ignore',
});
try {
  const deadline = performance.now() + 10_000;
  while (!existsSync(socket)) {
    if (performance.now() > deadline) throw new Error('redis-server did not start');
    await sleep(50);
  }
  const server = await LarderServer.start({ store: `unix://${socket}` });
  const direct = new Redis(socket);
  const client = new Client({ target: server.target, preset: 'local' });
  const items = client.namespace('bench');
  for (const key of KEYS) {
    await direct.set(key, VALUE);
    await items.set(key, VALUE);
  }
  await compare('get', () => direct.get('key1'), () => items.get('key1'), 1);
  await compare('get, 32 in flight', () => direct.get('key1'), () => items.get('key1'), 32);
  await compare('getMany of 100', () => direct.mget(KEYS), () => items.getMany(KEYS), 1);
  const set = () => direct.set('key1', VALUE, 'EX', 300);
  await compare('set, 32 in flight', set, () => items.set('key1', VALUE, { ttl: '5m' }), 32);
  direct.disconnect();
  await client.close();
  await server.stop();
} finally {
  redisServer.kill();
  if (redisServer.exitCode === null) await once(redisServer, 'exit');
  rmSync(folder, { recursive: true, force: true });
}
