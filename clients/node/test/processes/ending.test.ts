import { beforeAll, describe, expect, it } from 'vitest';
import { useServer } from '../support.js';
import { bundledClient, Program } from './support.js';

const used = useServer();
let client: string;
beforeAll(async () => {
  client = await bundledClient();
});

function start(way: string): Program {
  const env = { LARDER_CLIENT: client, LARDER_ENDPOINT: used.server.target };
  return Program.start('ending.mjs', env, way);
}

describe('a process that forgets close()', () => {
  // 15 s: a keepalive, a heartbeat or a lease that kept it alive would do so for as long or longer.
  it.each(['unused', 'forgets', 'background'])('%s: ends by itself', async (way) => {
    const program = start(way);
    expect([await program.end(15_000), program.errors]).toEqual([0, '']);
  });
});

it.each(['exit-in-calls', 'exit-at-once'])('%s: process.exit ends it', async (way) => {
  const program = start(way);
  expect([await program.end(15_000), program.errors]).toEqual([7, '']);
});

it('an error of the program is the only one that is seen', async () => {
  const program = start('throws');
  expect(await program.end(15_000)).toBe(1);
  expect(program.errors).toContain('of the program');
  expect(program.errors).not.toMatch(/grpc|CANCELLED|Unavailable/);
});

it('close() in the middle of calls leaves no handle and no timer', async () => {
  const program = start('closed');
  expect(await program.facts(15_000)).toEqual([]);
  // A close is no outage.
  expect(program.output.trim().split('\n')).toHaveLength(1);
  expect(program.errors).toBe('');
});
