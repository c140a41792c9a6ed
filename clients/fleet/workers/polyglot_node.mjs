// The Node worker of the polyglot test: README.md has the protocol.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { crc32 } from 'node:zlib';

const { cached, Client, LarderError } = await import(process.env.LARDER_CLIENT);

const KEYS = 100;
// Milliseconds that the near cache has to keep a value and to see its change.
const LIMIT = 20_000;
const WEIGHTS = { get: 25, near: 35, fetch: 30, many: 5, set: 4, delete: 1 };
const lots = Object.entries(WEIGHTS).flatMap(([name, weight]) => Array(weight).fill(name));
const OUTAGES = new Set([
  'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED', 'INTERNAL', 'UNKNOWN',
  'CANCELLED',
]);
const ARGS = {
  report: ['year', 'region', 'filters'],
  user: ['user_id', 'page'],
  pair: ['a', 'b'],
};

const answer = (value) => console.log(JSON.stringify(value));
const between = (low, high) => low + Math.random() * (high - low);
const someKey = () => `k${Math.floor(KEYS * Math.random() ** 2)}`;
const shown = (value) => JSON.stringify(value);
let sequence = 0;

/** A value with its key and a checksum, as all workers write and check it. */
function valueOf(key) {
  sequence += 1;
  return { key, writer: 'node', seq: sequence, sum: crc32(`${key}|node|${sequence}`) };
}

/** Callers that read and write until the end, and the facts that they note. */
class Load {
  constructor(entries, near, callers, pause) {
    this.facts = {
      calls: Object.fromEntries(Object.keys(WEIGHTS).map((name) => [name, 0])),
      hits: 0, near: 0, degraded: 0, refused: 0, longest: 0, slowest: '', raised: [],
      wrong: [],
    };
    this.make = {
      get: async (key) => this.read(key, await entries.get(key)),
      near: async (key) => this.read(key, await near.get(key)),
      fetch: async (key) => {
        const load = async () => {
          await sleep(between(1, 50));
          return valueOf(key);
        };
        const result = await entries.getOrFetch(key, load);
        this.read(key, result);
        if (!result.found) this.note('wrong', `${key}: no value of a loader: ${result.outcome}`);
      },
      many: async () => {
        const keys = [...new Set(Array.from({ length: 20 }, someKey))];
        for (const [key, result] of await entries.getMany(keys)) this.read(key, result);
      },
      set: (key) => near.set(key, valueOf(key), { ttl: '20s' }),
      delete: (key) => near.delete(key),
    };
    this.ending = false;
    this.running = Array.from({ length: callers }, () => this.run(pause * 1000));
  }

  async run(pause) {
    for (;;) {
      await sleep(pause);
      if (this.ending) return;
      const call = lots[Math.floor(Math.random() * lots.length)];
      const began = performance.now();
      try {
        await this.make[call](someKey());
      } catch (error) {
        this.failed(call, error);
      }
      this.facts.calls[call] += 1;
      const took = (performance.now() - began) / 1000;
      if (took > this.facts.longest) Object.assign(this.facts, { longest: took, slowest: call });
    }
  }

  read(key, result) {
    if (result.degraded) this.facts.degraded += 1;
    if (result.tier === 'client') this.facts.near += 1;
    if (!result.found) {
      if (result.error && !result.degraded) this.note('wrong', `${key}: ${result.error}`);
      return;
    }
    this.facts.hits += 1;
    const value = result.value;
    const sum = crc32(`${key}|${value?.writer}|${value?.seq}`);
    if (value?.key !== key || value.sum !== sum) this.note('wrong', `${key}: ${shown(value)}`);
  }

  failed(call, error) {
    const outage = error instanceof LarderError && OUTAGES.has(error.code);
    if (call === 'delete' && outage) this.facts.refused += 1;
    else this.note('raised', `${call}: ${error?.stack ?? error}`.slice(0, 500));
  }

  note(name, line) {
    if (this.facts[name].length < 20) this.facts[name].push(line);
  }

  async end() {
    this.ending = true;
    await Promise.all(this.running);
    return this.facts;
  }
}

let client;
let entries;
let near;
let functions;
let load;

/** The arguments of a call: JavaScript has none by name, so that they are put in their places. */
function argumentsOf({ function: name, positional, named }) {
  const args = [...positional];
  for (const [argument, value] of Object.entries(named)) {
    args[ARGS[name].indexOf(argument)] = value;
  }
  return args;
}

const commands = {
  async connect({ preset }) {
    await client?.close();
    client = new Client({ preset, logger: null });
    await client.connect('20s');
    entries = client.namespace('polyglot');
    near = client.namespace('polyglot', { nearCache: true });
    const common = { namespace: entries, ttl: '60s' };
    // The functions are never called: only the keys of their calls are used.
    functions = {
      report: cached(function report() {}, {
        ...common, args: ARGS.report, defaults: { region: 'eu', filters: null },
      }),
      user: cached(function user() {}, {
        ...common, args: ARGS.user, defaults: { page: 1 }, key: 'user:{user_id}',
      }),
      pair: cached(function pair() {}, { ...common, args: ARGS.pair, key: '{a}:{b}' }),
    };
    return 'connected';
  },

  keys: ({ calls }) => calls.map((call) => functions[call.function].key(...argumentsOf(call))),

  write: ({ calls, values }) =>
    Promise.all(calls.map(async (call, index) => {
      const written = await functions[call.function].set(values[index], ...argumentsOf(call));
      return written.stored;
    })),

  read: ({ calls }) =>
    Promise.all(calls.map(async (call) => {
      const read = await functions[call.function].get(...argumentsOf(call));
      const { outcome, value, error } = read;
      return { outcome, value, error: error ? String(error) : null };
    })),

  async stampede({ key, callers, seconds, lead }) {
    let loads = 0;
    const compute = async () => {
      loads += 1;
      if (lead && loads === 1) answer('loading');
      await sleep(seconds * 1000);
      return `${key} by node`;
    };
    const done = await Promise.all(Array.from({ length: callers }, async () => {
      const began = performance.now();
      const result = await entries.getOrFetch(key, compute, { timeout: '30s' });
      return { result, took: (performance.now() - began) / 1000 };
    }));
    const isRight = ({ result }) => result.found && !result.error && !result.degraded;
    const right = done.filter(isRight);
    const wrong = done.filter((each) => !isRight(each));
    return {
      loads,
      answers: right.length,
      values: [...new Set(right.map(({ result }) => String(result.value)))],
      slowest: Math.max(...done.map(({ took }) => took)),
      wrong: wrong.slice(0, 3).map(({ result }) => inspect(result)),
    };
  },

  async change({ kind, key, tag, value }) {
    let done;
    if (kind === 'set') done = (await near.set(key, value, { tags: [tag], ttl: '60s' })).stored;
    else if (kind === 'delete') done = (await near.delete(key)).deleted;
    else done = !(await near.invalidate({ tags: [tag] })).queued;
    const at = Date.now() / 1000;
    const result = await near.get(key);
    return { done, at, found: result.found, value: result.value };
  },

  async follow({ key, old, new: next, gone }) {
    const deadline = performance.now() + LIMIT;
    const facts = { kept: 0, outdated_at: 0, wrong: [] };
    let others = 0;
    while (performance.now() < deadline) {
      const began = Date.now() / 1000;
      const result = await near.get(key);
      const isNear = result.tier === 'client';
      if (result.found && result.value === old) {
        others = 0;
        facts.outdated_at = began;
        if (isNear) {
          facts.kept += 1;
          if (facts.kept === 1) answer('following');
        }
      } else if (result.found && result.value !== next) {
        facts.wrong.push(`${result.outcome} ${shown(result.value)} ${result.error}`);
        return facts;
      } else {
        others += 1;
        if (others >= gone && (next === null || isNear)) return facts;
      }
      await sleep(1);
    }
    facts.wrong.push(`no end within ${LIMIT} ms: ${facts.kept} reads of the near cache`);
    return facts;
  },

  load({ callers, pause }) {
    load = new Load(entries, near, callers, pause);
    return 'loading';
  },

  counts: () => load.facts,

  end: () => load.end(),

  async close() {
    await client?.close();
    return 'closed';
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  answer(await commands[command.do](command));
  if (command.do === 'close') {
    client = undefined;
    break;
  }
}
// The script is gone; callers of the load may run.
if (client) process.exit(1);
process.stdin.destroy();
