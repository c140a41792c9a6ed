import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, expect, test } from 'vitest';
import { useServer } from './support.js';

const used = useServer();
const root = fileURLToPath(new URL('..', import.meta.url));
const directory = mkdtempSync(join(root, 'node_modules', '.readme-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = [...readme.matchAll(/^(?:#+ ([^\n]*)\n(?:(?!^#)[^])*?)?^```ts\n([^]*?)^```/gm)].map(
  ([, title, code]) => ({ title: title ?? '', code: code! }),
);

test('there are blocks', () => expect(blocks.length).toBeGreaterThanOrEqual(9));

test.each(blocks.map((block, index) => ({ ...block, index })))(
  'block $index: $title',
  async ({ code, index }) => {
    const outfile = join(directory, `block${index}.mjs`);
    await build({
      stdin: { contents: code, loader: 'ts', resolveDir: root },
      bundle: true, platform: 'node', format: 'esm', outfile, logLevel: 'silent',
      external: ['@grpc/grpc-js', '@bufbuild/protobuf'],
      alias: {
        'larder-cache': join(root, 'src/index.ts'),
        'larder-cache/testing': join(root, 'src/testing.ts'),
      },
    });
    const env = { ...process.env, LARDER_ENDPOINT: used.server.target };
    const { stdout } = await promisify(execFile)(process.execPath, [outfile], {
      env, timeout: 15_000, cwd: tmpdir(),
    });
    // What a line prints is in its comment.
    const printed = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text);
    expect(printed.length).toBeGreaterThan(code.includes('console.log') ? 0 : -1);
    expect(stdout.trim().split('\n').filter((line) => line !== '')).toEqual(printed);
  },
);
