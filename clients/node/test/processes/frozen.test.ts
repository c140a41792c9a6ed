import { afterAll, beforeAll, expect, it } from 'vitest';
import { pauseProcess, resumeProcess } from '../../src/fake/pausing.js';
import { until, useServer } from '../support.js';
import { bundledClient, Program, Proxy } from './support.js';

const FROZEN_MS = 4000;
const used = useServer();
let client: string;
let proxy: Proxy;
beforeAll(async () => {
  client = await bundledClient();
  proxy = await Proxy.to(used.server.target);
});
afterAll(async () => {
  await proxy?.close();
});

/** Freezes a process for longer than its keepalive, and returns what it saw then. */
async function thawed(options: Record<string, unknown>, lost = false) {
  const env = { LARDER_CLIENT: client, LARDER_ENDPOINT: proxy.target };
  const program = Program.start('frozen.mjs', env, JSON.stringify(options));
  try {
    await until(() => program.output.includes('ready'), 'the program is ready', 20_000);
    await pauseProcess(program.child.pid!);
    await new Promise((resolve) => setTimeout(resolve, FROZEN_MS));
    if (lost) proxy.loseConnections();
    await resumeProcess(program.child.pid!);
    return await program.facts(40_000);
  } finally {
    program.child.kill('SIGKILL');
  }
}

it('the first call after a freeze works, although the keepalive is over', async () => {
  const facts = await thawed({ keepalive: 1000, keepaliveTimeout: 1000 });
  expect(facts.first).toBe(1);
  expect(facts.took).toBeLessThan(3000);
});

it('with the preset lambda the first call works on a connection that was lost', async () => {
  const facts = await thawed({ preset: 'lambda', maxIdle: 2000 }, true);
  expect(facts.first).toBe(1);
  expect(facts.took).toBeLessThan(3000);
});

async function replaced(preset: string, options: Record<string, unknown>) {
  const facts = await thawed({ preset, ...options }, true);
  expect(facts.value).toBe(1);
  expect(facts.until).toBeLessThan(5000);
  // The bare library goes on with the dead connection: DEADLINE_EXCEEDED, call after call.
  expect(facts.raw).toEqual([4, 4, 4]);
}

it('a connection that died in silence is found by its keepalive; reads fail open', async () => {
  await replaced('service', { keepalive: 1000, keepaliveTimeout: 1000 });
}, 60_000);

it.each([
  ['service', { keepalive: false }],
  ['local', { callTimeout: 500 }],
])('%s %j: or it is replaced because calls get no answer', replaced, 60_000);
