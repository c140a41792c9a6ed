'use strict';
// Errors, metadata, deadlines, cancellation, health and statistics.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const test = require('node:test');
const { promisify } = require('node:util');

const { status } = require('@grpc/grpc-js');

const { Health, client, connect, duration, eventually, larder, milliseconds, newNamespace, refusal } = require('./larder');

for (const [field, limit, change] of [
  ['namespace', '64', { namespace: 'n'.repeat(65) }],
  ['namespace', undefined, { namespace: 'Not Allowed' }],
  ['key', '1024', { key: 'k'.repeat(1025) }],
  ['key', undefined, { key: '' }],
  ['params', '64', { params: Object.fromEntries(Array.from({ length: 65 }, (_, number) => [`p${number}`, ''])) }],
  ['ttl', undefined, { ttl: duration(0) }],
  ['tags[1]', '128', { tags: ['fine', 't'.repeat(129)] }],
  ['value.json', undefined, { value: { json: '{not json' } }],
]) {
  test(`invalid argument: ${field} ${limit ?? ''}`, async () => {
    const request = { namespace: newNamespace(), key: 'k', value: { text: 'x' }, ...change };
    const { violations, info } = await refusal(status.INVALID_ARGUMENT, larder.set(request));
    assert.equal(info.reason, 'INVALID_ARGUMENT');
    assert.deepEqual(violations.map((violation) => violation.field), [field]);
    assert.equal(info.metadata.field, field);
    assert.ok(violations[0].description);
    if (limit) {
      assert.equal(info.metadata.limit, limit);
      assert.ok(violations[0].description.includes(limit), violations[0].description);
    }
  });
}

test('value too large', async () => {
  const request = { namespace: newNamespace(), key: 'k', value: { data: Buffer.alloc(1024 * 1024 + 1) } };
  const { violations, info } = await refusal(status.RESOURCE_EXHAUSTED, larder.set(request));
  assert.equal(info.reason, 'VALUE_TOO_LARGE');
  assert.equal(info.metadata.field, 'value');
  assert.equal(info.metadata.limit, '1048576');
  assert.match(violations[0].description, /1048576/);
});

test('metadata', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const headers = async (method) => {
    const call = client[method](request, (error) => assert.ifError(error));
    const [metadata] = await once(call, 'metadata');
    return metadata.getMap();
  };
  assert.equal((await headers('get'))['x-cache'], 'MISS');
  await larder.set({ ...request, value: { text: 'x' }, ttl: duration(60_000) });
  for (const method of ['get', 'getOrFetch']) {
    const got = await headers(method);
    assert.equal(got['x-cache'], 'HIT');
    assert.match(got['x-cache-age'], /^([0-9]|10)$/);
    assert.match(got['x-cache-ttl-remaining'], /^([45][0-9]|60)$/);
  }
});

test('deadline', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const { lease } = await larder.getOrFetch(request);
  const started = performance.now();
  const waiting = larder.getOrFetch({ ...request, wait: duration(30_000) }, { deadline: Date.now() + 300 });
  // The server answers contended just before the deadline.
  await waiting.then(
    (answer) => assert.equal(answer.outcome, 'contended'),
    (error) => assert.equal(error.code, status.DEADLINE_EXCEEDED),
  );
  const took = performance.now() - started;
  assert.ok(took > 200 && took < 3000, `the call with a deadline of 300 ms took ${took} ms`);
  const filled = await larder.set({ ...request, value: { text: 'x' }, leaseToken: lease.token });
  assert.equal(filled.result, 'SET_RESULT_STORED', "another caller's deadline does not affect the lease");
});

test('cancellation', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const { lease } = await larder.getOrFetch(request);
  let call;
  const waiting = promisify((callback) => {
    call = client.getOrFetch({ ...request, wait: duration(30_000) }, callback);
  })();
  // An answered call proves that the server has received the call before it.
  await larder.get(request);
  call.cancel();
  await assert.rejects(waiting, { code: status.CANCELLED });
  const filled = await larder.set({ ...request, value: { data: Buffer.alloc(65_536) }, leaseToken: lease.token });
  assert.equal(filled.result, 'SET_RESULT_STORED', 'a cancelled caller does not affect the lease');

  const stream = client.batchGet({ keys: Array(1000).fill(request) });
  const reading = (async () => {
    for await (const chunk of stream) {
      assert.equal(chunk.results[0].outcome, 'OUTCOME_HIT');
      stream.cancel();
    }
  })();
  await assert.rejects(reading, { code: status.CANCELLED });
  assert.equal((await larder.get(request)).outcome, 'OUTCOME_HIT', 'the connection still works');
});

test('health', async () => {
  const health = connect(Health);
  const check = promisify(health.check).bind(health);
  for (const service of ['', 'larder.v1.CacheService', 'liveness', 'store']) {
    assert.equal((await check({ service })).status, 'SERVING', service);
    const watch = health.watch({ service });
    const [first] = await once(watch, 'data');
    assert.equal(first.status, 'SERVING', service);
    watch.on('error', (error) => assert.equal(error.code, status.CANCELLED));
    watch.cancel();
  }
  await assert.rejects(check({ service: 'no.such.Service' }), { code: status.NOT_FOUND });
});

test('stats', async () => {
  const namespace = newNamespace();
  const set = { namespace, key: 'k', value: { text: 'x' } };
  for (let round = 0; round < 3; round += 1) await larder.set(set);
  await larder.set({ ...set, ifAbsent: true });
  for (const key of ['k', 'k', 'k', 'k', 'missing', 'missing']) await larder.get({ namespace, key });
  const leased = { namespace, key: 'leased', wait: duration(0) };
  const { lease } = await larder.getOrFetch(leased);
  await larder.getOrFetch(leased);
  await larder.abandon({ namespace, key: 'leased', leaseToken: lease.token });
  await larder.delete({ namespace, key: 'k' });
  await larder.invalidateNamespace({ namespace });

  const stats = await eventually(async () => {
    const answer = await larder.stats({ namespaces: [namespace] });
    return answer.namespaces[0]?.counted.total.invalidations > 0 && answer;
  });
  assert.deepEqual(stats.namespaces.map((each) => each.namespace), [namespace]);
  for (const window of ['total', 'lastHour', 'lastDay']) {
    const { hitRate, hitLatency, ...counted } = stats.namespaces[0].counted[window];
    const expected = {
      hits: '4', misses: '4', sets: '3', setsRefused: '1', deletes: '1', invalidations: '1', leasesGranted: '1',
      leasesRefused: '1', leasesAbandoned: '1', stale: '0', negative: '0', degraded: '0',
    };
    assert.deepEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, counted[name]])), expected);
    assert.equal(hitRate, 0.5);
    assert.ok(milliseconds(hitLatency.p50) > 0 && milliseconds(hitLatency.p50) < 1000);
  }
  assert.equal(stats.degraded, false);
  assert.equal(stats.store.reachable, true);
  assert.ok(['memory', 'redis'].includes(stats.store.kind), stats.store.kind);
  assert.ok(Math.abs(milliseconds(stats.collectedAt) - Date.now()) < 60_000);
});
