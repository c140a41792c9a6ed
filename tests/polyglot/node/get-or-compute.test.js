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
