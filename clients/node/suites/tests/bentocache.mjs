// The suite of bentocache for drivers: bentocache.mjs RESULTS
import { writeFileSync } from 'node:fs';
import { assert } from '@japa/assert';
import { configure, processCLIArgs, run } from '@japa/runner';
import { Client } from 'larder-cache';

const results = { passed: 0, failed: 0, skipped: 0 };
export const client = new Client({ preset: 'local' });
globalThis.larderClient = client;

processCLIArgs([]);
configure({
  files: ['tests/bentocache-suite.mjs'],
  plugins: [assert()],
  reporters: {
    activated: ['spec', 'counts'],
    list: [
      (await import('@japa/runner/reporters')).spec(),
      {
        name: 'counts',
        handler(_runner, emitter) {
          emitter.on('test:end', ({ isSkipped, hasError }) => {
            results[isSkipped ? 'skipped' : hasError ? 'failed' : 'passed'] += 1;
          });
        },
      },
    ],
  },
  teardown: [
    async () => {
      await client.close();
      writeFileSync(process.argv[2], JSON.stringify(results));
    },
  ],
});
await run();
