// Next.js 16: a real build, served by two processes that share what they cache.
import { execFile, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from 'larder-cache';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

/** A busy machine takes its time. */
const LONG = { timeout: 30_000 };

const app = fileURLToPath(new URL('../next-app', import.meta.url));
const next = createRequire(import.meta.url).resolve('next/dist/bin/next');
const namespace = 'next-suite';
const env = { ...process.env, LARDER_NEXT_NAMESPACE: namespace, NODE_ENV: 'production' };
const client = new Client({ preset: 'local' });
const servers = [];

async function start() {
  const child = spawn(process.execPath, [next, 'start', '-H', '127.0.0.1', '-p', '0'], {
    cwd: app, env, stdio: ['ignore', 'pipe', 'pipe'],
  });
  servers.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => { output += data; });
  }
  return vi.waitFor(
    () => {
      const [, url] = /Local:\s+(http:\/\/\S+)[\s\S]*Ready/.exec(output) ?? [];
      if (url === undefined) throw new Error(`Next.js does not serve: ${output}`);
      return url;
    },
    { timeout: 60_000, interval: 50 },
  );
}

async function stamp(url, path) {
  const text = await (await fetch(`${url}${path}`)).text();
  const [, found] = /id="stamp">([^<]*)</.exec(text) ?? [];
  if (found === undefined) throw new Error(`no stamp in ${text}`);
  return found;
}

async function revalidate(url, query) {
  const response = await fetch(`${url}/revalidate?${query}`, { method: 'POST' });
  expect(response.status).toBe(200);
}

let first;
let second;
beforeAll(async () => {
  rmSync(`${app}/.next`, { recursive: true, force: true });
  try {
    await promisify(execFile)(process.execPath, [next, 'build'], { cwd: app, env });
  } catch (error) {
    throw new Error(`${error.stdout}\n${error.stderr}`);
  }
  first = await start();
  second = await start();
}, 300_000);

afterAll(async () => {
  await Promise.all(
    servers.map((child) => new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill('SIGTERM');
    })),
  );
  rmSync(`${app}/.next`, { recursive: true, force: true });
  await client.close();
});

describe('use cache (cacheHandlers)', () => {
  it('two processes share a value', async () => {
    const value = await stamp(first, '/cached');
    expect(await stamp(second, '/cached')).toBe(value);
    expect(await stamp(first, '/cached')).toBe(value);
  });

  it('revalidateTag with no time left: both make the value again', async () => {
    const value = await stamp(first, '/cached');
    await revalidate(first, 'tag=stamps');
    const next = await stamp(second, '/cached');
    expect(next).not.toBe(value);
    expect(await stamp(first, '/cached')).toBe(next);
  });

  it('revalidateTag with a profile: the stale value once more, then a new one', async () => {
    const value = await stamp(first, '/cached');
    await revalidate(second, 'tag=stamps&profile=max');
    expect(await stamp(first, '/cached')).toBe(value);
    await vi.waitFor(async () => expect(await stamp(second, '/cached')).not.toBe(value), LONG);
  });

  it('revalidatePath is a soft tag, which no entry carries', async () => {
    const value = await stamp(first, '/cached');
    await revalidate(first, 'path=/cached');
    expect(await stamp(second, '/cached')).not.toBe(value);
  });

  it('an invalidation of the tag in Larder', async () => {
    const value = await stamp(first, '/cached');
    await client.namespace(namespace).invalidate({ tags: ['stamps'] });
    expect(await stamp(second, '/cached')).not.toBe(value);
  });
});

describe('pages (cacheHandler)', () => {
  it('a page of the build is in Larder, and the same in both processes', async () => {
    const value = await stamp(first, '/isr');
    expect(await stamp(second, '/isr')).toBe(value);
    const keys = [];
    for await (const { key } of client.namespace(namespace).listKeys()) keys.push(key);
    expect(keys.some((key) => key.startsWith('page:') && key.endsWith('/isr'))).toBe(true);
  });

  it('revalidatePath', async () => {
    const value = await stamp(first, '/isr');
    await revalidate(first, 'path=/isr');
    const next = await vi.waitFor(async () => {
      const made = await stamp(second, '/isr');
      expect(made).not.toBe(value);
      return made;
    }, LONG);
    await vi.waitFor(async () => expect(await stamp(first, '/isr')).toBe(next), LONG);
  });

  it('revalidateTag', async () => {
    const value = await stamp(second, '/isr');
    await revalidate(second, 'tag=pages');
    await vi.waitFor(async () => expect(await stamp(first, '/isr')).not.toBe(value), LONG);
  });
});
