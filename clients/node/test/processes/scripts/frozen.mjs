// Calls, says `ready`, and calls again when it is thawed.
import { credentials, makeGenericClientConstructor } from '@grpc/grpc-js';

const { Client } = await import(process.env.LARDER_CLIENT);
const options = JSON.parse(process.argv[2]);
const client = new Client({ logger: null, ...options });
const entries = client.namespace('frozen', { onError: 'open' });
await entries.set('k', 1);
if ((await entries.get('k')).value !== 1) throw new Error('no value before the freeze');

// The same with the bare library.
let naive = async () => undefined;
{
  const path = '/larder.v1.CacheService/CountKeys';
  const plain = (value) => value;
  const Raw = makeGenericClientConstructor({
    call: {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: plain,
      responseDeserialize: plain,
    },
  });
  const raw = new Raw(process.env.LARDER_ENDPOINT, credentials.createInsecure());
  // A CountKeysRequest of the namespace "frozen".
  const request = Buffer.from([10, 6, ...Buffer.from('frozen')]);
  naive = () =>
    new Promise((resolve) => {
      raw.call(request, { deadline: Date.now() + 1000 }, (error) => {
        resolve(error === null ? 'OK' : error.code);
      });
    });
  const first = await naive();
  if (first !== 'OK') throw new Error(`the raw stub: ${first}`);
}
// A frozen process sees a gap between two ticks of its clock.
let last = performance.now();
await new Promise((resolve) => {
  const timer = setInterval(() => {
    const now = performance.now();
    if (now - last > 1500) {
      clearInterval(timer);
      resolve();
    }
    last = now;
  }, 20);
  console.log('ready');
});
const began = performance.now();
const first = await entries.get('k');
const took = performance.now() - began;
let result = first;
let calls = 1;
while (!result.found && performance.now() - began < 20_000) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  result = await entries.get('k');
  calls += 1;
}
const until = performance.now() - began;
const raw = [await naive(), await naive(), await naive()];
await client.close();
console.log(JSON.stringify({
  first: first.value, took, value: result.value, until, calls, raw, degraded: first.degraded,
}));
process.exit(0);
