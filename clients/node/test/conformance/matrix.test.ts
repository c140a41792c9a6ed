/**
 * Values that other languages read, and values that other languages have written.
 * `clients/conformance/matrix.sh` runs it, first with `LARDER_MATRIX=write` and then with `read`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client } from '../../src/index.js';
import { CONFORMANCE } from './control.js';
import { expand, type Fields, same } from './grammar.js';

const mode = process.env.LARDER_MATRIX ?? '';
const writers = (process.env.LARDER_MATRIX_WRITERS ?? '').split(' ').filter((name) => name !== '');
const suite = JSON.parse(readFileSync(join(CONFORMANCE, 'suite.json'), 'utf8'));
// JavaScript has no exact integers beyond 2^53 in JSON.
const rows = (suite.matrix as any[]).filter(({ needs = [] }) => !needs.includes('big_integers'));
const plain = (value: unknown) => expand(value, new Map());

describe.skipIf(mode === '')('matrix', () => {
  let client: Client;
  beforeAll(() => {
    client = new Client({ target: process.env.LARDER_MATRIX_TARGET!, preset: 'local' });
  });
  afterAll(() => client.close());

  it.runIf(mode === 'write')('write', async () => {
    const namespace = client.namespace('matrix-node');
    for (const row of rows) {
      const options: Fields = {};
      if (row.params !== undefined) options.params = plain(row.params);
      if (row.tags !== undefined) options.tags = row.tags;
      const key = plain(row.key);
      if (row.increment !== undefined) {
        expect((await namespace.increment(key, row.increment)).value).toBe(row.increment);
      } else if (row.fetch !== undefined) {
        const result = await namespace.getOrFetch(key, () => plain(row.fetch));
        expect(result.stored).toMatchObject({ stored: true });
      } else {
        expect(await namespace.set(key, plain(row.value), options)).toMatchObject({ stored: true });
      }
    }
  });

  for (const writer of mode === 'read' ? writers : []) {
    it(`read of ${writer}`, async () => {
      const namespace = client.namespace(`matrix-${writer}`);
      for (const row of rows) {
        const key = plain(row.key);
        const options = row.params === undefined ? {} : { params: plain(row.params) };
        const result = await namespace.get(key, options);
        expect(result.outcome, key.slice(0, 40)).toBe('HIT');
        expect(same(plain(row.value), result.value), key.slice(0, 40)).toBe(true);
        expect([...result.tags], key.slice(0, 40)).toEqual([...(row.tags ?? [])].sort());
      }
    });
  }
});
