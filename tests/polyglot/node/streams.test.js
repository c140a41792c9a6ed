'use strict';
// FetchStream: a lease that lives as long as its stream.

const assert = require('node:assert/strict');
const test = require('node:test');

const { status } = require('@grpc/grpc-js');

const { client, duration, larder, newNamespace } = require('./larder');

/** A stream about a key, and an iterator over what it is told. */
function openStream(request) {
  const stream = client.fetchStream();
  const told = stream[Symbol.asyncIterator]();
  stream.write({ open: request });
  const hear = async () => (await told.next()).value;
  return { stream, hear };
}

const wait = (request) => larder.getOrFetch({ ...request, wait: duration(12_000) });

test('a stream fills', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const { stream, hear } = openStream(request);
  assert.equal((await hear()).answer?.lease?.token.length, 16);
  const follower = wait(request);
  stream.write({ fill: { value: { text: 'computed' } } });
  const { filled } = await hear();
  assert.equal(filled?.result, 'SET_RESULT_STORED');
  assert.equal(await hear(), undefined, 'the stream ends');
  stream.end();
  const { found } = await follower;
  assert.equal(found?.value.text, 'computed');
  assert.equal(found.entry.version, filled.version);

  const next = openStream(request);
  assert.equal((await next.hear()).answer?.found?.value.text, 'computed');
  assert.equal(await next.hear(), undefined, 'there is nothing more to say');
});

test('a cancelled stream gives its lease back', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const { stream, hear } = openStream(request);
  const first = (await hear()).answer?.lease?.token;
  const follower = wait(request);
  const end = assert.rejects(hear(), ({ code }) => code === status.CANCELLED);
  const cancelled = performance.now();
  stream.cancel();
  const second = (await follower).lease?.token;
  assert.ok(second?.length > 0, 'the next caller was given no lease');
  assert.notDeepEqual(second, first);
  assert.ok(performance.now() - cancelled < 3000, 'at once, and not when the lease would have run out');
  await end;
});
