'use strict';
// Shared by all checks: a client on $LARDER_ADDRESS, a namespace per check, and polling.

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const path = require('node:path');
const { after } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const { promisify } = require('node:util');

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const { protoPath: healthProto } = require('grpc-health-check');
const protobuf = require('protobufjs');

// int64 as strings: JavaScript numbers are doubles, exact only up to 2^53.
const LOADING = { longs: String, enums: String, defaults: true, oneofs: true };
// Default deadline of every call: a hanging call fails its check instead of the run.
const OPTIONS = {
  'grpc.service_config': JSON.stringify({
    methodConfig: [{ name: [{}], timeout: '15s' }],
  }),
};

const load = (file, includeDirs) => grpc.loadPackageDefinition(protoLoader.loadSync(file, { ...LOADING, includeDirs }));
const proto = load('larder/v1/cache_service.proto', [path.join(__dirname, '../../../proto')]);
const { Health } = load(healthProto).grpc.health.v1;
const errors = protobuf.loadSync(path.join(__dirname, 'errors.proto'));

const connect = (Client, options = {}) => {
  const client = new Client(process.env.LARDER_ADDRESS, grpc.credentials.createInsecure(), { ...OPTIONS, ...options });
  after(() => client.close());
  return client;
};

/** The generated client, for cancellation, streams and metadata. */
const client = connect(proto.larder.v1.CacheService);

/** The unary calls as promises. */
const larder = Object.fromEntries(
  Object.values(proto.larder.v1.CacheService.service)
    .filter((method) => !method.responseStream)
    .map(({ originalName }) => [originalName, promisify(client[originalName]).bind(client)]),
);

/** A unique namespace, which isolates a check from other checks and earlier runs. */
const newNamespace = () => `node-${randomUUID().slice(0, 13)}`;

const duration = (ms) => ({ seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1e6 });
const milliseconds = ({ seconds, nanos }) => Number(seconds) * 1000 + nanos / 1e6;

/** Polls until the probe returns a truthy value, and resolves to that value. */
async function eventually(probe, within = 10_000) {
  const deadline = Date.now() + within;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `still ${answer} after ${within} ms`);
    await sleep(20);
  }
}

/** Awaits a call that must fail with `code`. Resolves to its field violations and ErrorInfo. */
async function refusal(code, call) {
  const error = await call.then(
    (answer) => assert.fail(`not refused: ${JSON.stringify(answer)}`),
    (error) => error,
  );
  assert.equal(grpc.status[error.code], grpc.status[code], error.message);
  const [encoded] = error.metadata.get('grpc-status-details-bin');
  assert.ok(encoded, 'no grpc-status-details-bin in the trailers');
  const refused = { violations: [], info: undefined };
  for (const { type_url: url, value } of errors.lookupType('google.rpc.Status').decode(encoded).details) {
    if (url.endsWith('/google.rpc.BadRequest')) {
      refused.violations = errors.lookupType('google.rpc.BadRequest').decode(value).fieldViolations;
    } else if (url.endsWith('/google.rpc.ErrorInfo')) {
      refused.info = errors.lookupType('google.rpc.ErrorInfo').decode(value);
    }
  }
  assert.equal(refused.info?.domain, 'larder');
  return refused;
}

module.exports = {
  Health,
  client,
  connect,
  duration,
  eventually,
  larder,
  milliseconds,
  newNamespace,
  refusal,
  sleep,
};
