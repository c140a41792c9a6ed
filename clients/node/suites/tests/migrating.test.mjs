// The code of the page about moving from Keyv with Redis runs as it is shown.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const folder = path.dirname(import.meta.dirname);
const page = readFileSync(path.join(folder, '../../../docs/migrating/keyv.md'), 'utf8');
const blocks = [...page.matchAll(/^```js\n(.*?)^```$/gms)]
  .map(([, code]) => code)
  .filter((code) => !code.startsWith('// before'));

it('has the two ways', () => {
  expect(blocks).toHaveLength(2);
});

it.each(blocks.map((code, number) => [number, code]))('block %i', async (_, code) => {
  const program = code.replaceAll('127.0.0.1:50051', process.env.LARDER_ENDPOINT);
  // Among the packages that are installed here.
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '--eval', program],
    { cwd: folder, timeout: 30_000 },
  );
  expect(stdout).toBe('Ada\n');
}, 40_000);
