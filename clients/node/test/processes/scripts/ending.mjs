// Programs that end without close(), each in a way of its own.
const { Client } = await import(process.env.LARDER_CLIENT);
const way = process.argv[2];
const client = new Client({ preset: 'local' });
const entries = client.namespace('ending');
const near = client.namespace('ending-near', { nearCache: true });
const never = () => new Promise(() => {});

if (way !== 'unused') {
  await entries.set('k', 1);
  await near.get('k');
}
if (way === 'forgets') {
  // An idle connection, a feed, and the timers of both.
} else if (way === 'background') {
  void entries.getOrFetch(`${process.pid}`, never);
  await entries.get('k');
} else if (way === 'exit-in-calls') {
  for (let i = 0; i < 100; i += 1) void entries.get(`k${i}`);
  void entries.getOrFetch(`${process.pid}`, never);
  setTimeout(() => process.exit(7), 50);
} else if (way === 'exit-at-once') {
  void entries.get('k');
  process.exit(7);
} else if (way === 'throws') {
  void entries.get('k');
  throw new Error('of the program');
} else if (way === 'closed') {
  for (let i = 0; i < 100; i += 1) entries.get(`k${i}`).catch(() => {});
  entries.getOrFetch(`${process.pid}`, never).catch(() => {});
  await client.close();
  const left = () => process.getActiveResourcesInfo().filter((each) => !/TTY|Pipe/.test(each));
  const deadline = performance.now() + 2000;
  // setImmediate is no timer, and is not in the list.
  while (left().length > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  console.log(JSON.stringify(left()));
}
