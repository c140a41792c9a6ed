/**
 * The conformance cases of all client libraries, on the real server and on the fake.
 *
 * `LARDER_BIN` and `LARDER_CLIENT_CONTROL` name the programs, and `LARDER_CONFORMANCE_STORE` the
 * store, `memory` or `redis`.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { encodeNamespace } from '../../src/core/names.js';
import { CONFORMANCE, Control, missingPrograms } from './control.js';
import { FakeServer } from './fake-server.js';
import { type Case, CaseRun, type Place, RealServer } from './runner.js';

/** Time for a case, in milliseconds. */
const LIMIT = 60_000;
const CLIENT_FEATURES = ['threads', 'two_clients', 'cancel', 'call_keys', 'tracing'];

const { cases, configuration } = JSON.parse(
  readFileSync(join(CONFORMANCE, 'suite.json'), 'utf8'),
) as { cases: Case[]; configuration: Record<string, Record<string, number>> };

/** Reasons by the name of a test, such as `client/ttl/zero`; `*` is every kind of server. */
const skips = new Map(
  readFileSync(join(CONFORMANCE, 'skips/node.txt'), 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => [line.split(' ', 1)[0]!, line.slice(line.indexOf(' ') + 1).trim()] as const),
);

function applies(test: Case, features: readonly string[]): boolean {
  return (test.needs ?? []).every((need) => features.includes(need));
}

/** Notes a case that passed, for the table in docs/clients.md. */
function report(passed: string): void {
  const folder = process.env.LARDER_CONFORMANCE_REPORT;
  if (folder) appendFileSync(join(folder, 'node.txt'), `${passed}\n`);
}

/** A case passes, or is in the list of skips and fails. */
async function check(kind: string, test: Case, place: Place, context: TestContext): Promise<void> {
  const run = new CaseRun(test, place).run();
  const reason = skips.get(`${kind}/${test.id}`) ?? skips.get(`*/${test.id}`);
  if (reason === undefined) {
    await run;
    return report(`${kind}/${test.id}`);
  }
  const failed = await run.then(() => false, () => true);
  expect(failed, `the case passes: remove it from the skips (${reason})`).toBe(true);
  context.skip(reason);
}

const missing = missingPrograms();
if (missing.length > 0 && process.env.CI === 'true') {
  throw new Error(`not built: ${missing.join(', ')}`);
}

describe.skipIf(missing.length > 0)('client', () => {
  let control: Control;
  beforeAll(async () => {
    control = await Control.start(process.env.LARDER_CONFORMANCE_STORE ?? 'memory');
  });
  afterAll(() => control.close());

  for (const test of cases) {
    if (!applies(test, [...CLIENT_FEATURES, ...RealServer.features])) continue;
    it(test.id, { timeout: LIMIT }, async (context) => {
      const server = new RealServer(control);
      await server.prepare(test.needs ?? []);
      await check('client', test, server, context);
    });
  }
});

describe('fake', () => {
  for (const test of cases) {
    if (!applies(test, [...CLIENT_FEATURES, ...FakeServer.features])) continue;
    it(test.id, { timeout: LIMIT }, async (context) => {
      const own = typeof test.namespace === 'string' ? test.namespace : test.id.replace('/', '-');
      const server = new FakeServer(configuration, [encodeNamespace(own || 'none')]);
      await check('fake', test, server, context);
    });
  }
});

it('skips name cases, with a reason', () => {
  const ids = new Set(cases.map(({ id }) => id));
  for (const [name, reason] of skips) {
    expect(ids, `no case of the skip ${name}`).toContain(name.slice(name.indexOf('/') + 1));
    expect(reason, `the skip ${name} has no reason`).not.toBe('');
  }
});
