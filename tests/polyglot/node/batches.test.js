'use strict';
// BatchGet, BatchSet, BatchDelete.

const assert = require('node:assert/strict');
const test = require('node:test');

const { status } = require('@grpc/grpc-js');

const { client, larder, newNamespace, refusal } = require('./larder');

const COUNT = 400;

const range = (low, high, step = 1) => Array.from({ length: Math.ceil((high - low) / step) }, (_, i) => low + i * step);
const refs = (namespace, numbers) => numbers.map((n) => ({ namespace, key: `k${n}`, params: { n: `${n}` } }));

/** Writes the numbered entries. Resolves to the versions by number. */
async function store(namespace, numbers, value) {
  const items = refs(namespace, numbers).map((ref, i) => ({ ...ref, value: value(numbers[i]) }));
  const { results } = await larder.batchSet({ items });
  assert.equal(results.length, numbers.length);
  for (const { result } of results) assert.equal(result, 'SET_RESULT_STORED');
  return new Map(results.map(({ version }, i) => [numbers[i], version]));
}

/** Resolves to the messages of the answer. */
const batchGet = (keys) => client.batchGet({ keys }).toArray();

test('batch get answers in order', async () => {
  const namespace = newNamespace();
  const versions = await store(namespace, range(0, COUNT, 2), (number) => ({ text: `value ${number}` }));
  // In reverse order, with every other key missing and one key duplicated.
  const asked = [...range(0, COUNT).reverse(), 0];
  const results = (await batchGet(refs(namespace, asked))).flatMap((chunk) => chunk.results);
  assert.equal(results.length, asked.length);
  asked.forEach((number, i) => {
    const { outcome, value, entry } = results[i];
    if (number % 2) {
      assert.equal(outcome, 'OUTCOME_MISS');
      assert.equal(value, null);
    } else {
      assert.equal(outcome, 'OUTCOME_HIT');
      assert.equal(value.text, `value ${number}`);
      assert.equal(entry.version, versions.get(number));
    }
  });
});

test('large answers are split into chunks', async () => {
  const namespace = newNamespace();
  const large = (number) => {
    const data = Buffer.alloc(16 * 1024);
    data.writeUInt32BE(number);
    return { data };
  };
  await store(namespace, range(0, COUNT / 2), large);
  await store(namespace, range(COUNT / 2, COUNT), large);
  const chunks = await batchGet(refs(namespace, range(0, COUNT)));
  // 6.3 MiB in total, above every client's default message size limit.
  assert.ok(chunks.length > 1, 'the answer is a single message');
  for (const { results } of chunks) {
    const size = results.reduce((sum, { value }) => sum + value.data.length, 0);
    assert.ok(size < 2 * 1024 * 1024, `a chunk has ${size} bytes of values`);
  }
  const numbers = chunks.flatMap(({ results }) => results.map(({ value }) => value.data.readUInt32BE()));
  assert.deepEqual(numbers, range(0, COUNT));
});

test('a small answer is one message', async () => {
  assert.equal((await batchGet(refs(newNamespace(), range(0, 10)))).length, 1);
});

test('batch delete', async () => {
  const namespace = newNamespace();
  await store(namespace, range(0, COUNT, 2), () => ({ text: 'x' }));
  const keys = refs(namespace, range(0, COUNT));
  assert.deepEqual((await larder.batchDelete({ keys })).existed, range(0, COUNT).map((number) => number % 2 === 0));
  assert.deepEqual((await larder.batchDelete({ keys })).existed, range(0, COUNT).map(() => false));
});

test('batch items are independent', async () => {
  const namespace = newNamespace();
  const item = (key) => ({ namespace, key, value: { text: 'new' }, ifAbsent: true });
  await larder.set(item('there'));
  const { results } = await larder.batchSet({ items: [item('there'), item('fresh')] });
  assert.deepEqual(results.map(({ result }) => result), ['SET_RESULT_CONDITION_NOT_MET', 'SET_RESULT_STORED']);
});

test('an invalid item fails the batch', async () => {
  const namespace = newNamespace();
  const items = ['valid', ''].map((key) => ({ namespace, key, value: { text: 'x' } }));
  const refused = await refusal(status.INVALID_ARGUMENT, larder.batchSet({ items }));
  assert.deepEqual(refused.violations.map(({ field }) => field), ['items[1].key']);
  assert.equal((await larder.get({ namespace, key: 'valid' })).outcome, 'OUTCOME_MISS');

  const keys = refs(namespace, range(0, 1001));
  const tooMany = await refusal(status.INVALID_ARGUMENT, larder.batchDelete({ keys }));
  assert.equal(tooMany.info.reason, 'BATCH_TOO_LARGE');
  assert.equal(tooMany.violations[0].field, 'keys');
  assert.match(tooMany.violations[0].description, /1000/);
});
