'use strict';
// What every check needs: a client on $LARDER_ADDRESS, a namespace of its own, and a way to wait.

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

// int64 as strings: a double, which is what JavaScript has for a number, is exact up to 2^53 only.
const LOADING = { longs: String, enums: String, defaults: true, oneofs: true };
// A deadline on every call that states none: a call that hangs is a failed check, not a hanging run.
const OPTIONS = {
  'grpc.service_config': JSON.stringify({
    methodConfig: [{ name: [{}], timeout: '15s' }],
  }),
};

const load = (file, includeDirs) => grpc.loadPackageDefinition(protoLoader.loadSync(file, { ...LOADING, includeDirs }));
const proto = load('larder/v1/cache_service.proto', [path.join(__dirname, '../../../proto')]);
const { Health } = load(healthProto).grpc.health.v1;
const errors = protobuf.loadSync(path.join(__dirname, 'errors.proto'));

const connect = (Client) => {
  const client = new Client(process.env.LARDER_ADDRESS, grpc.credentials.createInsecure(), OPTIONS);
  after(() => client.close());
  return client;
};

/** The plain client: for calls that are cancelled, streams, and their metadata. */
const client = connect(proto.larder.v1.CacheService);

/** The same calls as promises. */
const larder = Object.fromEntries(
  Object.values(proto.larder.v1.CacheService.service)
    .filter((method) => !method.responseStream)
    .map(({ originalName }) => [originalName, promisify(client[originalName]).bind(client)]),
);

/** A namespace of the check's own: none sees what another one, or an earlier run, wrote. */
const newNamespace = () => `node-${randomUUID().slice(0, 13)}`;

const duration = (ms) => ({ seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1e6 });
const milliseconds = ({ seconds, nanos }) => Number(seconds) * 1000 + nanos / 1e6;

/** Asks again until the probe answers something true, and resolves to that. */
async function eventually(probe, within = 10_000) {
  const deadline = Date.now() + within;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `still ${answer} after ${within} ms`);
    await sleep(20);
  }
}

/** Awaits a call that must fail with `code`; resolves to its BadRequest.fieldViolations and its ErrorInfo. */
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
