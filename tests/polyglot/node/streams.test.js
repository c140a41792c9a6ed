'use strict';
// FetchStream: a lease that ends with its stream.

const assert = require('node:assert/strict');
const test = require('node:test');

const { status } = require('@grpc/grpc-js');

const { client, duration, larder, newNamespace } = require('./larder');

/** Opens a stream for a key. `receive` resolves to the next message. */
function openStream(request) {
  const stream = client.fetchStream();
  const messages = stream[Symbol.asyncIterator]();
  stream.write({ open: request });
  const receive = async () => (await messages.next()).value;
  return { stream, receive };
}

const wait = (request) => larder.getOrFetch({ ...request, wait: duration(12_000) });

test('a stream fills', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const { stream, receive } = openStream(request);
  assert.equal((await receive()).answer?.lease?.token.length, 16);
  const follower = wait(request);
  stream.write({ fill: { value: { text: 'computed' } } });
  const { filled } = await receive();
  assert.equal(filled?.result, 'SET_RESULT_STORED');
  assert.equal(await receive(), undefined, 'the stream ends');
  stream.end();
  const { found } = await follower;
  assert.equal(found?.value.text, 'computed');
  assert.equal(found.entry.version, filled.version);

  const next = openStream(request);
  assert.equal((await next.receive()).answer?.found?.value.text, 'computed');
  assert.equal(await next.receive(), undefined, 'the stream ends after a stored value');
});

test('a cancelled stream releases its lease', async () => {
  const request = { namespace: newNamespace(), key: 'k' };
  const { stream, receive } = openStream(request);
  const first = (await receive()).answer?.lease?.token;
  const follower = wait(request);
  const end = assert.rejects(receive(), ({ code }) => code === status.CANCELLED);
  const cancelled = performance.now();
  stream.cancel();
  const second = (await follower).lease?.token;
  assert.ok(second?.length > 0, 'the next caller was granted no lease');
  assert.notDeepEqual(second, first);
  assert.ok(performance.now() - cancelled < 3000, 'the lease is released at once, before it expires');
  await end;
});
