'use strict';
// Single entries: Get, Set, Delete, InvalidateNamespace, Touch, Increment.

const assert = require('node:assert/strict');
const test = require('node:test');

const { status } = require('@grpc/grpc-js');

const { duration, eventually, larder, milliseconds, newNamespace, refusal } = require('./larder');

const INT64_MAX = '9223372036854775807';
const INT64_MIN = '-9223372036854775808';
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
// Tolerance for a replica's estimate of the store's clock, in milliseconds.
const CLOCKS_DIFFER = 50;

const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

function assertBetween(low, value, high, what) {
  assert.ok(low <= value && value <= high, `${what}: ${value} is not between ${low} and ${high}`);
}

test('kinds', async () => {
  const namespace = newNamespace();
  const values = {
    data: { data: Buffer.from([0x00, 0x01, 0xff]) },
    empty: { data: Buffer.alloc(0) },
    text: { text: 'grüße 👋' },
    // The document is returned byte for byte, including the whitespace.
    json: { json: '{ "b":1,\n "a" : [null, 1.0] }' },
  };
  for (const [key, value] of Object.entries(values)) {
    const stored = await larder.set({ namespace, key, value });
    assert.equal(stored.result, 'SET_RESULT_STORED');
    const got = await larder.get({ namespace, key });
    assert.equal(got.outcome, 'OUTCOME_HIT');
    const [kind] = Object.keys(value);
    assert.equal(got.value.kind, kind);
    assert.deepEqual(got.value[kind], value[kind]);
    assert.equal(got.degraded, false);
  }
});

test('binary', async () => {
  const namespace = newNamespace();
  // 256 B and 1 MiB - 64 KiB
    for (const data of [EVERY_BYTE, Buffer.concat(Array(3840).fill(EVERY_BYTE))]) {
    await larder.set({ namespace, key: 'blob', value: { data } });
    const got = await larder.get({ namespace, key: 'blob' });
    assert.ok(data.equals(got.value.data), `got ${got.value.data.length} bytes, not the ${data.length} stored`);
  }
});

test('keys', async () => {
  const namespace = newNamespace();
  // The two é are one character, and an e with a combining accent: keys are not normalised.
  const keys = [
    '日本語', '🦀', 'caf\u00e9', 'cafe\u0301', 'a\0b', '\0', 'a:b', '{a}', 'a b\n', '__proto__', 'x'.repeat(1024),
  ];
  for (const key of keys) await larder.set({ namespace, key, value: { text: `value of ${key}` } });
  for (const key of keys) {
    const got = await larder.get({ namespace, key });
    assert.equal(got.value?.text, `value of ${key}`);
  }
});

test('params', async () => {
  const namespace = newNamespace();
  const get = async (params) => (await larder.get({ namespace, key: 'list', params })).value?.text;
  const set = (params, text) => larder.set({ namespace, key: 'list', params, value: { text } });
  const pairs = [['page', '2'], ['order', 'desc'], ['ü', '🦀'], ['empty', '']];
  await set(Object.fromEntries(pairs), 'with');
  assert.equal(await get(Object.fromEntries(pairs.toReversed())), 'with');
  assert.equal(await get(undefined), undefined, 'params are part of the key');
  await set(undefined, 'without');
  assert.equal(await get({}), 'without');
  assert.equal(await get(Object.fromEntries(pairs)), 'with');
  assert.equal(await get({ page: '2' }), undefined);
});

test('ttl', async () => {
  const namespace = newNamespace();
  const request = { namespace, key: 'brief' };
  const TTL = 1000;
  const asked = performance.now();
  const stored = await larder.set({ ...request, value: { text: 'x' }, ttl: duration(TTL) });
  const answered = performance.now();
  const applied = milliseconds(stored.ttl);
  assertBetween(TTL * 0.9, applied, TTL, 'the jitter shortens by at most a tenth');

  const got = await larder.get(request);
  assert.equal(got.outcome, 'OUTCOME_HIT');
  assertBetween(1, milliseconds(got.entry.ttlRemaining), applied + CLOCKS_DIFFER, 'remaining TTL');
  await eventually(async () => {
    const sent = performance.now();
    const { outcome } = await larder.get(request);
    assert.ok(outcome === 'OUTCOME_MISS' || sent < answered + applied + CLOCKS_DIFFER, 'outlived its TTL');
    return outcome === 'OUTCOME_MISS';
  });
  assert.ok(performance.now() > asked + applied - CLOCKS_DIFFER, 'gone before its TTL');
});

test('default and clamped ttl', async () => {
  const request = { namespace: newNamespace(), key: 'k', value: { text: 'x' } };
  const applied = async (ttl) => milliseconds((await larder.set({ ...request, ttl })).ttl);
  assertBetween(27 * MINUTE, await applied(undefined), 30 * MINUTE, 'default');
  assertBetween(6.3 * DAY, await applied(duration(365 * DAY)), 7 * DAY, 'clamped');
});

test('conditions', async () => {
  const namespace = newNamespace();
  const put = (text, condition) => larder.set({ namespace, key: 'k', value: { text }, ...condition });
  assert.equal((await put('a', { ifPresent: true })).result, 'SET_RESULT_CONDITION_NOT_MET');
  const first = await put('b', { ifAbsent: true });
  assert.equal(first.result, 'SET_RESULT_STORED');
  const refused = await put('c', { ifAbsent: true });
  assert.equal(refused.result, 'SET_RESULT_CONDITION_NOT_MET');
  assert.equal(refused.version, '');
  assert.equal((await put('d', { ifVersion: first.version })).result, 'SET_RESULT_STORED');
  assert.equal((await put('e', { ifVersion: first.version })).result, 'SET_RESULT_CONDITION_NOT_MET');
  assert.equal((await larder.get({ namespace, key: 'k' })).value.text, 'd');
  assert.equal((await put('f', { ifPresent: true })).result, 'SET_RESULT_STORED');
});

test('versions and tags', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const versions = [];
  for (let round = 0; round < 3; round += 1) {
    const stored = await larder.set({ ...request, value: { text: 'x' }, tags: ['user:2', 'blue', 'team:7'] });
    assert.ok(stored.version);
    versions.push(stored.version);
  }
  assert.equal(new Set(versions).size, 3, 'every Set creates a new version');
  const { entry } = await larder.get(request);
  assert.equal(entry.version, versions.at(-1));
  assert.deepEqual(entry.tags, ['blue', 'team:7', 'user:2']);
  assert.ok(['TIER_STORE', 'TIER_NEAR'].includes(entry.tier), entry.tier);
  assertBetween(0, milliseconds(entry.age), MINUTE, 'age');
});

test('delete', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  await larder.set({ ...request, value: { text: 'x' } });
  assert.equal((await larder.delete({ ...request, params: { a: 'b' } })).existed, false);
  assert.equal((await larder.delete(request)).existed, true);
  assert.equal((await larder.get(request)).outcome, 'OUTCOME_MISS');
  assert.equal((await larder.delete(request)).existed, false);
});

test('invalidate namespace', async () => {
  const namespace = newNamespace();
  const neighbour = newNamespace();
  const outcome = async (owner, key) => (await larder.get({ namespace: owner, key })).outcome;
  for (const owner of [namespace, neighbour]) {
    for (const key of ['a', 'b']) await larder.set({ namespace: owner, key, value: { text: 'x' } });
  }
  await larder.invalidateNamespace({ namespace });
  for (const key of ['a', 'b']) {
    assert.equal(await outcome(namespace, key), 'OUTCOME_MISS');
    assert.equal(await outcome(neighbour, key), 'OUTCOME_HIT');
  }
  await larder.set({ namespace, key: 'a', value: { text: 'again' } });
  assert.equal(await outcome(namespace, 'a'), 'OUTCOME_HIT');
});

test('touch', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const stored = await larder.set({ ...request, value: { text: 'x' }, ttl: duration(MINUTE) });
  const touched = await larder.touch({ ...request, ttl: duration(2 * HOUR) });
  assert.equal(touched.found, true);
  assertBetween(1.8 * HOUR, milliseconds(touched.ttl), 2 * HOUR, 'applied TTL');
  const { entry } = await larder.get(request);
  assert.equal(entry.version, stored.version, 'Touch does not change the version');
  assertBetween(HOUR, milliseconds(entry.ttlRemaining), milliseconds(touched.ttl) + CLOCKS_DIFFER, 'remaining TTL');
  const missing = await larder.touch({ ...request, key: 'missing', ttl: duration(HOUR) });
  assert.equal(missing.found, false);
  assert.equal(missing.ttl, null);
});

test('increment', async () => {
  const namespace = newNamespace();
  const increment = async (key, how) => (await larder.increment({ namespace, key, ...how })).value;
  const stored = async (key) => (await larder.get({ namespace, key })).value.text;
  assert.equal(await increment('visits'), '1');
  assert.equal(await increment('visits', { delta: 41 }), '42');
  assert.equal(await increment('visits', { delta: 0 }), '42');
  assert.equal(await increment('visits', { delta: -50 }), '-8');
  assert.equal(await increment('started', { delta: 5, initial: 100 }), '105');
  assert.equal(await stored('visits'), '-8');

  assert.equal(await increment('max', { initial: INT64_MAX, delta: 0 }), INT64_MAX);
  assert.equal(await stored('max'), INT64_MAX);
  assert.equal(await increment('min', { delta: INT64_MIN }), INT64_MIN);
  assert.equal(await increment('min', { delta: INT64_MAX }), '-1');
  assert.equal(await increment('exact', { initial: '9007199254740992', delta: 1 }), '9007199254740993');

  await larder.set({ namespace, key: 'visits', value: { text: '7' } });
  assert.equal(await increment('visits'), '8', 'Set resets a counter');
});

test('increment refused', async () => {
  const namespace = newNamespace();
  for (const [reason, text] of [['OVERFLOW', INT64_MAX], ['NOT_AN_INTEGER', 'seven']]) {
    await larder.set({ namespace, key: reason, value: { text } });
    const { info } = await refusal(status.FAILED_PRECONDITION, larder.increment({ namespace, key: reason }));
    assert.equal(info.reason, reason);
    assert.equal((await larder.get({ namespace, key: reason })).value.text, text);
  }
});
