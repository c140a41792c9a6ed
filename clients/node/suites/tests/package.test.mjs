// The package as it is published: every entry can be imported and required, with its types.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const folder = fileURLToPath(new URL('../node_modules/larder-cache/', import.meta.url));
const { exports } = JSON.parse(readFileSync(`${folder}package.json`, 'utf8'));
const entries = Object.keys(exports).filter((name) => name !== './package.json');
const require = createRequire(import.meta.url);

describe('the package', () => {
  it('has the entries of its documentation', () => {
    expect(entries.sort()).toEqual([
      '.', './bentocache', './express', './fastify', './http', './keyv', './keyv6', './nest',
      './next', './testing', './unstorage',
    ]);
  });

  it.each(entries)('%s can be imported and required', async (entry) => {
    const name = entry.replace('.', 'larder-cache');
    const imported = await import(name);
    const required = require(name);
    expect(Object.keys(imported).length).toBeGreaterThan(0);
    expect(Object.keys(required).sort()).toEqual(Object.keys(imported).sort());
    for (const { types } of Object.values(exports[entry])) {
      expect(existsSync(`${folder}${types}`)).toBe(true);
    }
  });

  it('reads no files of protos, and needs none of the adapted libraries', () => {
    const { dependencies, peerDependenciesMeta } = JSON.parse(
      readFileSync(`${folder}package.json`, 'utf8'),
    );
    expect(Object.keys(dependencies).sort()).toEqual([
      '@bufbuild/protobuf', '@grpc/grpc-js', 'fresh', 'http-cache-semantics',
    ]);
    expect(Object.values(peerDependenciesMeta).every(({ optional }) => optional)).toBe(true);
  });
});
