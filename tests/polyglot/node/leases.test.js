'use strict';
// GetOrFetch with leases: one caller computes the value, and the others wait for it.

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const test = require('node:test');
const { setTimeout } = require('node:timers/promises');

const { duration, eventually, larder, milliseconds, newNamespace } = require('./larder');

const NO_WAIT = duration(0);

async function lease(request) {
  const answer = await larder.getOrFetch(request);
  assert.equal(answer.outcome, 'lease', JSON.stringify(answer));
  return answer.lease;
}

const fill = (request, leaseToken, text = 'computed') => larder.set({ ...request, value: { text }, leaseToken });

test('one caller computes', async () => {
  const request = { namespace: newNamespace(), key: 'k', params: { page: '1' } };
  const answered = [];
  const calls = [1, 2].map(async () => {
    const answer = await larder.getOrFetch({ ...request, wait: duration(10_000) });
    answered.push(answer);
  });
  await Promise.race(calls);
  const [{ lease: granted }] = answered;
  assert.ok(granted?.token.length > 0, 'the first answer is not a lease');
  assert.ok(milliseconds(granted.expiresIn) > 0 && milliseconds(granted.expiresIn) <= 10_000);
  assert.equal(answered.length, 1, 'the second caller must wait');

  const landed = performance.now();
  const filled = await fill(request, granted.token);
  assert.equal(filled.result, 'SET_RESULT_STORED');
  await Promise.all(calls);
  const { found } = answered[1];
  assert.equal(found?.outcome, 'OUTCOME_HIT');
  assert.equal(found.value.text, 'computed');
  assert.equal(found.entry.version, filled.version);
  assert.ok(performance.now() - landed < 2000, 'waiting callers receive the value as soon as it is stored');
});

test('found at once', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  await larder.set({ ...request, value: { text: 'here' } });
  const { found } = await larder.getOrFetch(request);
  assert.equal(found?.outcome, 'OUTCOME_HIT');
  assert.equal(found.value.text, 'here');
});

test('no wait is contended', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  await lease(request);
  const answer = await larder.getOrFetch({ ...request, wait: NO_WAIT });
  assert.equal(answer.outcome, 'contended');
  assert.ok(milliseconds(answer.contended.retryAfter) > 0);
});

test('abandon', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const first = await lease(request);
  const abandon = { ...request, leaseToken: first.token, reason: 'origin is down' };
  await larder.abandon(abandon);
  const during = await larder.getOrFetch({ ...request, wait: NO_WAIT });
  assert.equal(during.outcome, 'contended', 'no lease is granted during the back-off');
  assert.equal((await fill(request, first.token)).result, 'SET_RESULT_LEASE_LOST');

  // A caller that asks again after the back-off of 1 s is granted the next lease.
  assert.deepEqual([during.fetchStatus, during.cause], ['FETCH_STATUS_FAILED', 'origin is down']);
  await setTimeout(milliseconds(during.contended.retryAfter) + 1);
  const second = await lease(request);
  assert.notDeepEqual(second.token, first.token);
  await larder.abandon(abandon);
  assert.equal((await fill(request, second.token)).result, 'SET_RESULT_STORED', 'abandoning a lost lease has no effect');
});

test('refused fills', async () => {
  const namespace = newNamespace();
  const named = (key) => ({ namespace, key });

  let { token } = await lease(named('written'));
  await larder.set({ ...named('written'), value: { text: 'newer' } });
  const refused = await fill(named('written'), token);
  assert.equal(refused.result, 'SET_RESULT_SUPERSEDED');
  assert.equal(refused.version, '');
  assert.equal((await larder.get(named('written'))).value.text, 'newer');

  ({ token } = await lease(named('deleted')));
  await larder.delete(named('deleted'));
  assert.equal((await fill(named('deleted'), token)).result, 'SET_RESULT_INVALIDATED');

  ({ token } = await lease(named('filled')));
  assert.equal((await fill(named('filled'), token)).result, 'SET_RESULT_STORED');
  assert.equal((await fill(named('filled'), token)).result, 'SET_RESULT_LEASE_LOST', 'a lease allows one fill');

  ({ token } = await lease(named('invalidated')));
  await larder.invalidateNamespace({ namespace });
  assert.equal((await fill(named('invalidated'), token)).result, 'SET_RESULT_INVALIDATED');
  for (const key of ['deleted', 'invalidated']) {
    assert.equal((await larder.get(named(key))).outcome, 'OUTCOME_MISS');
  }
});

test('stale', async () => {
  // tests/polyglot.sh configures stale_while_revalidate for the namespace `stale`.
  const request = { namespace: 'stale', key: `node-${randomUUID()}` };
  await larder.set({ ...request, value: { text: 'old' }, ttl: duration(50) });
  const stale = await eventually(async () => {
    const got = await larder.get(request);
    return got.outcome !== 'OUTCOME_HIT' && got;
  });
  assert.equal(stale.outcome, 'OUTCOME_STALE');
  assert.equal(stale.value.text, 'old');
  assert.equal(milliseconds(stale.entry.ttlRemaining), 0);
  const strict = await larder.get({ ...request, maxStale: duration(0) });
  assert.equal(strict.outcome, 'OUTCOME_MISS', 'max_stale tightens the window');

  const granted = await lease(request);
  assert.equal(granted.stale?.value.text, 'old');
  const { found } = await larder.getOrFetch(request);
  assert.equal(found?.outcome, 'OUTCOME_STALE', 'callers do not wait for a refresh');
  assert.equal(found.value.text, 'old');
  assert.equal((await fill(request, granted.token, 'new')).result, 'SET_RESULT_STORED');
  assert.equal((await larder.get(request)).value.text, 'new');
});
