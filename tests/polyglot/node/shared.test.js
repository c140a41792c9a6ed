'use strict';
// Entries of ../shared.json that each language writes and all others read. Keys begin with the
// name of the writer.

const assert = require('node:assert/strict');
const test = require('node:test');

const entries = require('../shared.json');
const { larder } = require('./larder');

const writers = (process.env.LARDER_WRITERS ?? '').split(' ').filter(Boolean);

const value = ({ data, text, json }) => (data ? { data: Buffer.from(data, 'base64') } : text ? { text } : { json });

test('shared write', async () => {
  for (const entry of entries) {
    // JavaScript orders numeric names first: keys must not depend on the order of params.
    const request = { namespace: 'shared', key: `node/${entry.key}`, params: entry.params, value: value(entry) };
    assert.equal((await larder.set(request)).result, 'SET_RESULT_STORED');
  }
});

for (const writer of writers) {
  test(`shared read: ${writer}`, async () => {
    for (const entry of entries) {
      const key = `${writer}/${entry.key}`;
      const got = await larder.get({ namespace: 'shared', key, params: entry.params });
      const [[kind, expected]] = Object.entries(value(entry));
      assert.equal(got.outcome, 'OUTCOME_HIT', JSON.stringify(entry));
      assert.equal(got.value.kind, kind);
      assert.deepEqual(got.value[kind], expected);
    }
  });
}
