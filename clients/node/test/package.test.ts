import { execFile, execFileSync } from 'node:child_process';
import {
  existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VERSION } from '../src/index.js';
import { until, useServer } from './support.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const project = mkdtempSync(join(tmpdir(), 'larder-package-'));
const used = useServer();
const run = promisify(execFile);

/** When a file of a folder was last changed; 0: there is none. */
function newest(folder: string): number {
  const path = join(root, folder);
  if (!existsSync(path)) return 0;
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' });
  return Math.max(0, ...files.map((name) => statSync(join(path, name)).mtimeMs));
}

/** A project that has installed the packed tarball. */
beforeAll(() => {
  const modules = join(root, 'node_modules');
  if (newest('dist') <= newest('src')) {
    execFileSync(join(modules, '.bin/tsup'), [], { cwd: root, stdio: 'ignore' });
  }
  const packed = execFileSync(
    'npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', project],
    { cwd: root, encoding: 'utf8' },
  );
  const installed = join(project, 'node_modules');
  mkdirSync(join(installed, 'larder-cache'), { recursive: true });
  execFileSync('tar', [
    'xzf', join(project, packed.trim()), '--strip-components=1', '-C',
    join(installed, 'larder-cache'),
  ]);
  for (const name of readdirSync(modules)) {
    if (!name.startsWith('.')) symlinkSync(join(modules, name), join(installed, name));
  }
}, 300_000);
afterAll(() => rmSync(project, { recursive: true, force: true }));

function file(name: string, text: string): string {
  writeFileSync(join(project, name), text);
  return join(project, name);
}

/** Runs a program that nothing but its own end stops. */
async function node(path: string): Promise<string> {
  const env = { ...process.env, LARDER_ENDPOINT: used.server.target };
  const { stdout } = await run(process.execPath, [path], { cwd: project, env, timeout: 15_000 });
  return stdout.trim();
}

const BODY = `
const client = new Client({ logger: null, preset: 'local' });
const cache = client.namespace('package');
await cache.set('k', { a: 1 });
console.log(JSON.stringify((await cache.get('k')).value), typeof FakeLarder);
`;
const ESM = `
import { Client } from 'larder-cache';
import { FakeLarder } from 'larder-cache/testing';
${BODY}`;
const CJS = `
const { Client } = require('larder-cache');
const { FakeLarder } = require('larder-cache/testing');
(async () => {${BODY}})();`;
const OUTPUT = '{"a":1} function';

describe('the package', () => {
  test('has the version of the library', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(version).toBe(VERSION);
    expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toContain('"resolved"');
  });

  test('is an ES module and a CommonJS module, and a process ends without close', async () => {
    expect(await node(file('esm.mjs', ESM))).toBe(OUTPUT);
    expect(await node(file('cjs.cjs', CJS))).toBe(OUTPUT);
  });

  test('can be bundled', async () => {
    for (const format of ['esm', 'cjs'] as const) {
      const outfile = join(project, `bundle.${format === 'esm' ? 'mjs' : 'cjs'}`);
      const { warnings } = await build({
        entryPoints: [file(`in.${format}.mjs`, ESM.replace(BODY, `(async () => {${BODY}})();`))],
        bundle: true, platform: 'node', format, outfile, logLevel: 'silent',
        // CommonJS modules within an ES module need a require.
        banner: format === 'esm'
          ? { js: "import { createRequire } from 'module';"
              + 'const require = createRequire(import.meta.url);' }
          : {},
      });
      expect(warnings).toEqual([]);
      const bundle = readFileSync(outfile, 'utf8');
      expect(bundle).not.toMatch(/from ["']larder-cache/);
      expect(await node(outfile)).toBe(OUTPUT);
    }
  });

  test('a near cache does not keep the process running, a watch does', async () => {
    const near = `
import { Client } from 'larder-cache';
const cache = new Client().namespace('exit', { nearCache: true });
await cache.set('k', 1);
while ((await cache.get('k')).tier !== 'client') await new Promise((r) => setTimeout(r, 5));
console.log('near');`;
    expect(await node(file('near.mjs', near))).toBe('near');
    const watch = `
import { Client } from 'larder-cache';
for await (const { type } of new Client().namespace('exit').watch()) {
  console.log(type);
  break;
}`;
    expect(await node(file('watch.mjs', watch))).toBe('ready');
  });

  test('a server does not outlive the program that started it', async () => {
    const program = `
import { LarderServer } from 'larder-cache/testing';
const server = await LarderServer.start();
console.log(server.pid);
process.exit(0);`;
    const pid = Number(await node(file('server.mjs', program)));
    expect(pid).toBeGreaterThan(0);
    await until(() => {
      try {
        process.kill(pid, 0);
        return false;
      } catch {
        return true;
      }
    }, 'the server has ended');
  });

  test('worker threads have clients of their own', async () => {
    const worker = `
import { Worker, isMainThread, workerData } from 'node:worker_threads';
import { Client } from 'larder-cache';
const cache = new Client({ preset: 'local' }).namespace('workers', { nearCache: true });
if (isMainThread) {
  await cache.set('n', '0');
  const workers = Array.from({ length: 3 }, () => new Worker(new URL(import.meta.url)));
  await Promise.all(workers.map((each) => new Promise((done, fail) => {
    each.on('error', fail).on('exit', done);
  })));
  console.log((await cache.get('n', { consistent: true })).value);
} else {
  for (let i = 0; i < 10; i += 1) await cache.increment('n');
}`;
    expect(await node(file('worker.mjs', worker))).toBe('30');
  });

  test('has strict types for both kinds of modules', async () => {
    const typed = `
import { Client, FOREVER, loaded, cached, type Result, type Codec } from 'larder-cache';
import { FakeLarder } from 'larder-cache/testing';
interface User { id: number; name: string }
const client = new Client({ transport: new FakeLarder().transport });
const users = client.namespace<User>('users', { ttl: '5m' });
export async function name(id: number): Promise<string> {
  const result: Result<User> = await users.getOrFetch(
    String(id),
    async ({ signal }) => loaded({ id, name: String(signal.aborted) }, { ttl: FOREVER }),
  );
  if (result.outcome === 'MISS') return result.value ?? 'nobody';
  if (result.outcome === 'NEGATIVE') return 'negative';
  const upper = cached(async (text: string, times = 1) => text.repeat(times), {
    namespace: users, ttl: (value) => value.length * 1000,
  });
  const repeated: string = await upper('a', 2);
  const written = await users.set('k', { id, name: 'n' }, { ifAbsent: true });
  return result.value.name + repeated + (written.stored ? written.version : written.reason);
}
// @ts-expect-error a value of another type
users.set('k', { id: 'text' });
export const codec: Codec<number> = {
  encode: (value) => ({ kind: 'text', value: String(value) }),
  decode: ({ value }) => Number(value),
};
`;
    file('typed.mts', typed);
    file('typed.cts', typed);
    file('package.json', '{"type":"module"}');
    const options = [
      '--strict', '--noEmit', '--target', 'es2022', '--module', 'nodenext', '--types', 'node',
      '--exactOptionalPropertyTypes', '--lib', 'es2023,esnext.disposable',
      'typed.mts', 'typed.cts',
    ];
    const tsc = join(root, 'node_modules/.bin/tsc');
    const { stdout } = await run(tsc, options, { cwd: project }).catch((error) => error);
    expect(stdout).toBe('');
  }, 120_000);
});
