'use strict';
// Calls replicas of Larder in turns until the file $LARDER_STOP exists, and prints how many calls
// failed. A replica may stop and start again meanwhile: a client follows its GOAWAY. With
// $LARDER_TLS_CA the replicas have TLS, and their certificates may change: each worker connects again
// and again.

const { existsSync, readFileSync } = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const WORKERS = 4;
const TLS_ROUNDS = 5; // per connection
const NAMESPACE = 'load-node';
const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{ name: [{}], timeout: '15s' }],
};

const definition = protoLoader.loadSync('larder/v1/cache_service.proto', {
  includeDirs: [path.join(__dirname, '../../../proto')],
  oneofs: true,
});
const { CacheService } = grpc.loadPackageDefinition(definition).larder.v1;
const authority = process.env.LARDER_TLS_CA;
const credentials = authority
  ? grpc.credentials.createSsl(readFileSync(authority))
  : grpc.credentials.createInsecure();
const options = {
  'grpc.service_config': JSON.stringify(SERVICE_CONFIG),
  // Otherwise the clients of a process share connections.
  'grpc.use_local_subchannel_pool': 1,
  // A list of addresses is not a valid authority, which the library would make of it.
  'grpc.default_authority': 'larder',
  // Neither is it the name of a certificate.
  'grpc.ssl_target_name_override': 'larder',
};

function connect() {
  return new CacheService(`ipv4:${process.env.LARDER_ADDRESSES}`, credentials, options);
}

let calls = 0;
let failed = 0;

async function count(client, method, request) {
  calls += 1;
  try {
    return await promisify(client[method]).call(client, request);
  } catch (error) {
    failed += 1;
    console.log(method, error.message);
    return undefined;
  }
}

async function callAll(client, key) {
  const entry = { namespace: NAMESPACE, key };
  await count(client, 'Get', entry);
  const answer = await count(client, 'GetOrFetch', { ...entry, wait: { seconds: 1 } });
  // Under the lease, if one was granted.
  const leaseToken = answer?.lease?.token ?? Buffer.alloc(0);
  await count(client, 'Set', { ...entry, value: { text: key }, leaseToken });
  await count(client, 'Delete', entry);
}

async function work(_, worker) {
  let client = connect();
  for (let number = 0; !existsSync(process.env.LARDER_STOP); number += 1) {
    if (authority && number % TLS_ROUNDS === TLS_ROUNDS - 1) {
      client.close();
      client = connect();
    }
    await callAll(client, `${worker}-${number % 50}`);
  }
  client.close();
}

Promise.all(Array.from({ length: WORKERS }, work)).then(() => {
  console.log(`calls=${calls} failed=${failed}`);
  process.exitCode = failed > 0 ? 1 : 0;
});
