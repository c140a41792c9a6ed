'use strict';
// GetOrFetch with the origin ../origins/http_origin.py.

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const test = require('node:test');

const { status } = require('@grpc/grpc-js');

const { client, larder, newNamespace, refusal } = require('./larder');

const namespace = 'origin-http';
// Origins that tests/polyglot.sh started.
const origins = (process.env.LARDER_ORIGINS ?? '').split(' ');
const skip = origins.includes('http') ? false : 'the server has no HTTP origin';

/** A unique key. Its prefix selects the origin's response. */
const named = (what) => ({ namespace, key: `${what}-node-${randomUUID()}` });

const batchGetOrFetch = async (keys) =>
  (await client.batchGetOrFetch({ keys }).toArray()).flatMap((chunk) => chunk.results);

test('read through', { skip }, async () => {
  const request = { ...named('value'), params: { page: '2' } };
  const first = await larder.getOrFetch(request);
  assert.equal(first.found?.value.text, `/${request.key}?page=2#1`);
  assert.equal(first.fetchStatus, 'FETCH_STATUS_FETCHED');
  assert.equal(first.fill, 'FILL_RESULT_STORED');
  assert.equal(first.found.entry.tier, 'TIER_ORIGIN');
  const again = await larder.getOrFetch(request);
  assert.equal(again.found?.value.text, first.found.value.text);
  assert.equal(again.fetchStatus, 'FETCH_STATUS_UNSPECIFIED');

  const missing = await larder.getOrFetch(named('missing'));
  assert.equal(missing.found?.outcome, 'OUTCOME_NEGATIVE');
});

test('origin failure is an error', { skip }, async () => {
  const { info } = await refusal(status.UNAVAILABLE, larder.getOrFetch(named('broken')));
  assert.equal(info.reason, 'ORIGIN_FAILED');
  assert.equal(info.metadata.origin, namespace);
});

test('a batch reads through', { skip }, async () => {
  const keys = ['value', 'missing', 'broken', 'value'].map(named);
  const results = await batchGetOrFetch(keys);
  assert.equal(results.length, keys.length);
  for (const place of [0, 3]) assert.equal(results[place].answer?.found?.value.text, `/${keys[place].key}#1`);
  assert.equal(results[1].answer?.found?.outcome, 'OUTCOME_NEGATIVE');
  assert.equal(results[2].error?.reason, 'ORIGIN_FAILED');
});

test('a batch grants leases', async () => {
  const own = newNamespace();
  const [there, missing] = ['there', 'missing'].map((key) => ({ namespace: own, key }));
  await larder.set({ ...there, value: { text: 'here' } });
  const results = await batchGetOrFetch([there, missing]);
  assert.equal(results[0].answer?.found?.value.text, 'here');
  const fill = { ...missing, value: { text: 'x' }, leaseToken: results[1].answer?.lease?.token };
  assert.equal((await larder.set(fill)).result, 'SET_RESULT_STORED');
});
