import { beforeAll, expect, it } from 'vitest';
import { fresh, useServer } from '../support.js';
import { bundledClient, Program } from './support.js';

const used = useServer();
let client: string;
beforeAll(async () => {
  client = await bundledClient();
});

it('a primary and two workers', async () => {
  const env = { LARDER_CLIENT: client, LARDER_ENDPOINT: used.server.target };
  const program = Program.start('cluster.mjs', env, fresh());
  const found = await program.facts();
  expect(found.facts).toHaveLength(2);
  for (const facts of found.facts) {
    expect(facts.primary).toBe(found.primary);
    expect(facts.own).toBe(facts.pid);
    expect(facts.shared).toHaveLength(1);
  }
  expect(found.facts[0].shared).toEqual(found.facts[1].shared);
  expect(found.facts[0].loads + found.facts[1].loads).toBe(1);
  expect(found.seen).toEqual(found.facts.map((facts: { pid: number }) => facts.pid));
  expect(found.codes).toEqual([0, 0]);
  expect(program.errors).toBe('');
});
