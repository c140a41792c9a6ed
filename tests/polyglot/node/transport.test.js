'use strict';
// Transport: trailers, cancelled and timed out calls, flow control, concurrency, broken streams.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const test = require('node:test');
const { promisify } = require('node:util');

const { status } = require('@grpc/grpc-js');

const { client, connect, duration, eventually, larder, newNamespace, refusal, sleep } = require('./larder');

const LONGEST = 900 * 1024;
const BATCH_VALUES = 200;
const BATCH_VALUE = 64 * 1024;
/** How often the slow reader requests each value: more data than any library buffers. */
const REPEATED = 3;

const range = (length) => Array.from({ length }, (_, number) => number);

/** Number of calls that wait in the server, from its metrics. */
async function allWaiting() {
  const response = await fetch(`http://${process.env.LARDER_ADMIN_ADDRESS}/metrics`, { signal: AbortSignal.timeout(5000) });
  const [, calls] = /^larder_waiting (\d+)$/m.exec(await response.text());
  return Number(calls);
}

/** Bytes that depend on the seed and on the position. */
function distinct(seed, size) {
  const bytes = Buffer.alloc(size);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let at = 0; at < size; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32BE(state, at);
  }
  return bytes;
}

/** Stores the values of the large batch. Resolves to a request for each value `times` times. */
async function storeBatch(namespace, times = 1) {
  const answers = await Promise.all(
    range(BATCH_VALUES).map((number) =>
      larder.set({ namespace, key: `k${number}`, value: { data: distinct(number, BATCH_VALUE) } }),
    ),
  );
  assert.ok(answers.every(({ result }) => result === 'SET_RESULT_STORED'));
  return { keys: range(BATCH_VALUES * times).map((number) => ({ namespace, key: `k${number % BATCH_VALUES}` })) };
}

function checkBatch(chunks, times = 1) {
  assert.ok(chunks.length >= 10 * times, `the answer has ${chunks.length} messages`);
  const values = chunks.flatMap(({ results }) => results.map(({ value }) => value.data));
  assert.equal(values.length, BATCH_VALUES * times);
  values.forEach((value, number) => {
    assert.ok(value.equals(distinct(number % BATCH_VALUES, BATCH_VALUE)), `value ${number} is not what was stored`);
  });
}

test('transport: trailers', async () => {
  const namespace = newNamespace();
  const set = { namespace, key: '', value: { text: 'x' } };
  // refusal() reads grpc-status-details-bin.
  const { violations } = await refusal(status.INVALID_ARGUMENT, larder.set(set));
  assert.deepEqual(violations.map(({ field }) => field), ['key']);
  await assert.rejects(larder.set(set), ({ code, details }) => code === status.INVALID_ARGUMENT && /key/.test(details));

  for (const expected of ['MISS', 'HIT']) {
    const call = client.get({ namespace, key: 'k' }, (error) => assert.ifError(error));
    const [[metadata], [{ code }]] = await Promise.all([once(call, 'metadata'), once(call, 'status')]);
    assert.deepEqual(metadata.get('x-cache'), [expected]);
    assert.equal(code, status.OK);
    await larder.set({ namespace, key: 'k', value: { text: 'x' } });
  }
});

test('transport: cancelled waits', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const { lease } = await larder.getOrFetch(request);
  const calls = [];
  const ends = range(20).map(() =>
    assert.rejects(
      promisify((callback) => calls.push(client.getOrFetch({ ...request, wait: duration(10_000) }, callback)))(),
      { code: status.CANCELLED },
    ),
  );
  await eventually(async () => (await allWaiting()) >= calls.length);
  for (const call of calls) call.cancel();
  await Promise.all(ends);
  // Calls of other files' checks, which run concurrently, are also counted.
  await eventually(async () => (await allWaiting()) === 0);
  const filled = await larder.set({ ...request, value: { text: 'x' }, leaseToken: lease.token });
  assert.equal(filled.result, 'SET_RESULT_STORED');
  assert.equal((await larder.get(request)).value.text, 'x', 'the connection still works');
});

test('transport: short deadlines', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const { lease } = await larder.getOrFetch(request);
  const started = performance.now();
  await Promise.all(
    range(20).map(() =>
      larder.getOrFetch({ ...request, wait: duration(5000) }, { deadline: Date.now() + 100 }).then(
        (answer) => assert.equal(answer.outcome, 'contended'),
        (error) => assert.equal(error.code, status.DEADLINE_EXCEEDED),
      ),
    ),
  );
  assert.ok(performance.now() - started < 2000, 'calls with a deadline of 100 ms');
  const filled = await larder.set({ ...request, value: { text: 'x' }, leaseToken: lease.token });
  assert.equal(filled.result, 'SET_RESULT_STORED', 'the lease is still valid');
});

test('transport: large values', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const data = distinct(7, LONGEST);
  assert.equal((await larder.set({ ...request, value: { data } })).result, 'SET_RESULT_STORED');
  const answers = await Promise.all(range(50).map(() => larder.get(request)));
  answers.forEach(({ value }, number) => assert.ok(value.data.equals(data), `answer ${number}`));
});

test('transport: compressed messages', async () => {
  const compressing = connect(client.constructor, { 'grpc.default_compression_algorithm': 2 });
  const [get, set] = ['get', 'set'].map((call) => promisify(compressing[call]).bind(compressing));
  const request = { namespace: newNamespace(), key: 'k' };
  for (const text of ['short', 'a compressible value, '.repeat(10_000)]) {
    assert.equal((await set({ ...request, value: { text } })).result, 'SET_RESULT_STORED');
    for (const call of [get, larder.get]) assert.ok((await call(request)).value.text === text);
  }
});

test('transport: large batch', async () => {
  const chunks = [];
  for await (const chunk of client.batchGet(await storeBatch(newNamespace()))) chunks.push(chunk);
  checkBatch(chunks);
});

test('transport: slow reader', async () => {
  const namespace = newNamespace();
  const request = await storeBatch(namespace, REPEATED);
  await larder.set({ namespace, key: 'small', value: { text: 'small' } });
  const stream = client.batchGet(request);
  const reading = stream[Symbol.asyncIterator]();
  const chunks = [(await reading.next()).value];
  const pause = sleep(1000);
  const answers = await Promise.all(
    range(200).map(() => larder.get({ namespace, key: 'small' }, { deadline: Date.now() + 5000 })),
  );
  assert.ok(answers.every(({ value }) => value.text === 'small'));
  await pause;
  for await (const chunk of reading) chunks.push(chunk);
  checkBatch(chunks, REPEATED);
});

test('transport: many at once', async () => {
  const namespace = newNamespace();
  // Far above the server's limit of concurrent streams per connection.
  const keys = range(2000).map((number) => `k${number}`);
  for (let begin = 0; begin < keys.length; begin += 500) {
    const batch = keys.slice(begin, begin + 500);
    await larder.batchSet({ items: batch.map((key) => ({ namespace, key, value: { text: `value of ${key}` } })) });
  }
  const answers = await Promise.all(keys.map((key) => larder.get({ namespace, key })));
  assert.deepEqual(answers.map(({ value }) => value.text), keys.map((key) => `value of ${key}`));
});

test('transport: stream that fills', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const data = distinct(3, LONGEST);
  const stream = client.fetchStream();
  const messages = stream[Symbol.asyncIterator]();
  stream.write({ open: request });
  assert.equal((await messages.next()).value.answer?.lease?.token.length, 16);
  stream.write({ fill: { value: { data } } });
  assert.equal((await messages.next()).value.filled?.result, 'SET_RESULT_STORED');
  assert.equal((await messages.next()).done, true, 'the stream ends');
  stream.end();
  assert.ok((await larder.get(request)).value.data.equals(data), 'the stored value is the filled one');
});

test('transport: broken stream', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const stream = client.fetchStream();
  const messages = stream[Symbol.asyncIterator]();
  stream.write({ open: request });
  const first = (await messages.next()).value.answer?.lease?.token;
  assert.equal(first?.length, 16);
  const follower = larder.getOrFetch({ ...request, wait: duration(12_000) });
  // An answered call proves that the server has received the call before it.
  await larder.get(request);
  const end = assert.rejects(messages.next(), { code: status.CANCELLED });
  const broken = performance.now();
  stream.cancel();
  const second = (await follower).lease?.token;
  assert.equal(second?.length, 16, 'the next caller was granted no lease');
  assert.notDeepEqual(second, first);
  assert.ok(performance.now() - broken < 2000, 'the lease is released at once, before it expires');
  await end;
});
