'use strict';
// The example that applications copy, beyond the happy path.

const assert = require('node:assert/strict');
const path = require('node:path');
const test = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const { ComputeFailed, getOrCompute } = require('../../../examples/node/get-or-compute');
const { newNamespace } = require('./larder');

const include = path.join(__dirname, '../../../proto');
const loaded = protoLoader.loadSync('larder/v1/cache_service.proto', {
  includeDirs: [include], keepCase: false, oneofs: true, enums: String,
});
const { CacheService } = grpc.loadPackageDefinition(loaded).larder.v1;
const connect = (address) => new CacheService(address, grpc.credentials.createInsecure());
const larder = connect(process.env.LARDER_ADDRESS);
test.after(() => larder.close());

const never = () => assert.fail('computed without need');

test('one of many computes', async () => {
  let computed = 0;
  const compute = async () => {
    computed += 1;
    await sleep(200);
    return { name: 'Ada' };
  };
  const namespace = newNamespace();
  const call = () => getOrCompute(larder, namespace, 'k', compute, { params: { id: '1' }, ttl: 60_000 });
  const values = await Promise.all([call(), call(), call(), call(), call()]);
  assert.deepEqual(values, Array(5).fill({ name: 'Ada' }));
  assert.equal(computed, 1);
  assert.deepEqual(await call(), { name: 'Ada' });
});

test('nothing is cached too', async () => {
  const namespace = newNamespace();
  assert.equal(await getOrCompute(larder, namespace, 'k', async () => undefined), null);
  assert.equal(await getOrCompute(larder, namespace, 'k', never), null);
});

test('a failure reaches the others at once', async () => {
  const compute = async () => {
    await sleep(300);
    throw new RangeError('secret');
  };
  const namespace = newNamespace();
  const began = Date.now();
  const call = () => getOrCompute(larder, namespace, 'k', compute);
  const results = await Promise.allSettled([call(), call(), call(), call()]);
  assert.ok(Date.now() - began < 3000);
  const failed = results.filter(({ reason }) => reason instanceof ComputeFailed);
  assert.deepEqual(failed.map(({ reason }) => reason.message), Array(3).fill('RangeError'));
  assert.equal(results.filter(({ reason }) => reason instanceof RangeError).length, 1);
});

test('another caller takes too long', async () => {
  const namespace = newNamespace();
  const held = getOrCompute(larder, namespace, 'k', () => sleep(1500));
  await sleep(100);
  await assert.rejects(getOrCompute(larder, namespace, 'k', never, { timeout: 500 }), /still being computed/);
  await held;
});

test('mistakes are thrown', async () => {
  await assert.rejects(
    getOrCompute(larder, newNamespace(), '', never),
    ({ code }) => code === grpc.status.INVALID_ARGUMENT,
  );
});

test('Larder is down', async () => {
  const down = connect('127.0.0.1:1');
  const began = Date.now();
  assert.equal(await getOrCompute(down, 'ns', 'k', async () => 7), 7);
  assert.ok(Date.now() - began < 3000);
  down.close();
});

const answerFor = (namespace, key, seconds = 0) => {
  const request = { namespace, key, wait: { seconds, nanos: 0 } };
  return new Promise((resolve, reject) => {
    larder.getOrFetch(request, (error, response) => (error ? reject(error) : resolve(response)));
  });
};

const isGivenBack = async (namespace, key) =>
  (await answerFor(namespace, key)).fetchStatus === 'FETCH_STATUS_FAILED';

test('a value that cannot be stored gives the lease back', async () => {
  const namespace = newNamespace();
  await assert.rejects(getOrCompute(larder, namespace, 'bigint', async () => 1n), TypeError);
  await assert.rejects(getOrCompute(larder, namespace, 'function', async () => () => 1), TypeError);
  const large = 'x'.repeat(2_000_000);
  assert.equal(await getOrCompute(larder, namespace, 'large', async () => large), large);
  for (const key of ['bigint', 'function', 'large']) assert.ok(await isGivenBack(namespace, key), key);
});

test('a cancelled caller stops waiting and passes its lease on', async () => {
  const namespace = newNamespace();
  const holder = new AbortController();
  const held = getOrCompute(larder, namespace, 'k', () => sleep(60_000, 1, { ref: false }), {
    signal: holder.signal,
  });
  held.catch(() => {});
  await sleep(200);
  const waiter = new AbortController();
  const waiting = getOrCompute(larder, namespace, 'k', never, { signal: waiter.signal });
  setTimeout(() => waiter.abort(), 200);
  const began = Date.now();
  await assert.rejects(waiting, { name: 'AbortError' });
  holder.abort();
  await assert.rejects(held, { name: 'AbortError' });
  assert.ok(Date.now() - began < 3000);
  // The server may notice a moment later that the waiter has gone.
  assert.ok((await answerFor(namespace, 'k', 5)).lease, 'there is no back-off');
});

// The result of the function for an answer, and the calls that follow it.
const scripted = async (answer, compute) => {
  const calls = [];
  const record = (name) => (request, options, done) => {
    calls.push(name);
    done(null, {});
  };
  const fake = {
    getOrFetch: (request, options, done) => process.nextTick(done, null, answer),
    set: record('set'),
    abandon: record('abandon'),
  };
  try {
    return [await getOrCompute(fake, 'ns', 'k', compute), calls];
  } catch (error) {
    return [error.name, calls];
  }
};

test('degraded answers, leases with stale values, and negative entries', async () => {
  const seven = async () => 7;
  const failing = async () => {
    throw new RangeError();
  };
  const lease = { token: Buffer.alloc(16) };
  assert.deepEqual(await scripted({ lease, degraded: true }, seven), [7, []]);
  assert.deepEqual(await scripted({ lease, degraded: true }, failing), ['RangeError', []]);
  const stale = { outcome: 'OUTCOME_STALE', value: { json: '1' } };
  assert.deepEqual(await scripted({ lease: { ...lease, stale } }, seven), [7, ['set']]);
  assert.deepEqual(await scripted({ lease: { ...lease, stale } }, failing), [1, ['abandon']]);
  assert.deepEqual(await scripted({ found: { outcome: 'OUTCOME_NEGATIVE' } }, never), [null, []]);
});
