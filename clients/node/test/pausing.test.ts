import { readdirSync, readFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { Client } from '../src/index.js';
import { LarderServer } from '../src/testing.js';

test('a paused server stands still, and a resumed one answers', async () => {
  const server = await LarderServer.start();
  const client = new Client({ target: server.target, preset: 'local', logger: null });
  onTestFinished(async () => {
    await client.close();
    await server.stop();
  });
  const states = () => readdirSync(`/proc/${server.pid}/task`).map((thread) => {
    return readFileSync(`/proc/${server.pid}/task/${thread}/stat`, 'utf8').split(') ')[1]![0];
  });
  const cache = client.namespace('n');
  await cache.set('k', 1);
  for (let round = 0; round < 20; round += 1) {
    // The server is at work when it is paused.
    const busy = Array.from({ length: 50 }, () => cache.get('k'));
    await server.pause();
    expect(new Set(states())).toEqual(new Set(['T']));
    const late = await cache.get('k', { timeout: 20 });
    expect(late.error).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await server.resume();
    expect(states()).not.toContain('T');
    await Promise.all(busy);
    expect((await cache.get('k')).value).toBe(1);
  }
});

test('a server that has ended cannot be paused', async () => {
  const server = await LarderServer.start();
  await server.stop();
  await expect(server.pause()).rejects.toMatchObject({ code: 'ESRCH' });
});
