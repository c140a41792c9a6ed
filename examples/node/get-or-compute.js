'use strict';
// GetOrFetch with a lease, for values that the application computes: one caller computes, all others
// wait for its value. Copy this file.
//
// `larder` is a client that proto-loader made with { keepCase: false, oneofs: true, enums: String }:
// fields are in camel case, and a `lease_token` would be ignored without a word.
//
// `compute` resolves to what JSON.stringify takes; null means that there is no such value, and is
// cached too. `signal` is an AbortSignal: when it is aborted, waits end, and the lease goes back;
// `compute` gets it as its argument. It must end within the namespace's `lease_ttl` (10 s); use FetchStream for longer ones.

const { status } = require('@grpc/grpc-js');
const { setTimeout: sleep } = require('node:timers/promises');

// Larder is down, overloaded or slow: the application must not be. A mistake of the caller, such as
// INVALID_ARGUMENT, is thrown.
const UNAVAILABLE = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.RESOURCE_EXHAUSTED]);
// Time limit in milliseconds for calls that must not hold the application up.
const SHORT = 500;

// The last computation failed, and none is due before the back-off is over.
class ComputeFailed extends Error {}

const call = (larder, method, request, timeout, signal) =>
  new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + timeout);
    const cancel = () => running.cancel();
    const running = larder[method](request, { deadline }, (error, answer) => {
      signal?.removeEventListener('abort', cancel);
      if (error) reject(signal?.aborted ? signal.reason : error);
      else resolve(answer);
    });
    signal?.addEventListener('abort', cancel, { once: true });
  });

// Settles as the computation does, or rejects with the signal's reason as soon as it is aborted.
const unlessAborted = (computing, signal) =>
  new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal?.addEventListener('abort', abort, { once: true });
    computing.then(resolve, reject).finally(() => signal?.removeEventListener('abort', abort));
  });

// Returns the cached value, or the one that this caller or another one computes.
async function getOrCompute(larder, namespace, key, compute, { params = {}, ttl, timeout = 5000, signal } = {}) {
  const name = { namespace, key, params };
  const deadline = Date.now() + timeout;
  for (;;) {
    signal?.throwIfAborted();
    const left = deadline - Date.now();
    if (left <= 0) throw new Error(`${namespace}/${key} is still being computed`);
    let answer;
    try {
      // The wait ends with `contended`. Only a Larder that is slow exceeds the deadline.
      answer = await call(larder, 'getOrFetch', { ...name, wait: duration(left) }, left + SHORT, signal);
    } catch (error) {
      if (UNAVAILABLE.has(error?.code)) return compute(signal);
      throw error;
    }
    if (answer.found) return valueOf(answer.found);
    if (answer.contended) {
      if (answer.fetchStatus === 'FETCH_STATUS_FAILED') throw new ComputeFailed(answer.cause);
      const delay = Math.min(milliseconds(answer.contended.retryAfter), deadline - Date.now());
      await sleep(Math.max(0, delay), undefined, { signal });
      continue;
    }
    // Redis is down: no caller holds the lease, and nothing would be stored.
    if (answer.degraded) return compute(signal);
    const { token: leaseToken, stale } = answer.lease;
    // Callers that wait receive the reason, so it must not contain secrets. At most 256 bytes.
    const abandon = (error) => {
      const reason = error?.name ?? 'Error';
      // A caller that has gone passes the lease on, without the back-off of a failure.
      const passOn = signal?.aborted ?? false;
      return call(larder, 'abandon', { ...name, leaseToken, reason, passOn }, SHORT).catch(() => {});
    };
    let value, fill;
    try {
      signal?.throwIfAborted();
      value = (await unlessAborted(Promise.resolve(compute(signal)), signal)) ?? null;
      // Here, so that a value that is not JSON gives the lease back as well.
      const json = JSON.stringify(value);
      if (json === undefined) throw new TypeError('the value is not JSON');
      fill = { ...name, leaseToken, value: { json } };
      if (ttl) fill.ttl = duration(ttl);
    } catch (error) {
      await abandon(error);
      if (stale && !signal?.aborted) return valueOf(stale);
      throw error;
    }
    // A fill that is refused or fails does not make the value wrong, but the others must not wait.
    await call(larder, 'set', fill, SHORT).catch(abandon);
    return value;
  }
}

const valueOf = ({ outcome, value }) => (outcome === 'OUTCOME_NEGATIVE' ? null : JSON.parse(value.json));

const duration = (ms) => ({ seconds: Math.floor(ms / 1000), nanos: Math.floor((ms % 1000) * 1e6) });

const milliseconds = ({ seconds, nanos }) => Number(seconds) * 1000 + nanos / 1e6;

module.exports = { ComputeFailed, getOrCompute };
