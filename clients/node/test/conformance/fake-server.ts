/** The fake of `larder-cache/testing` as the server of a case. */
import { setTimeout as sleep } from 'node:timers/promises';
import { FakeLarder, type FakeNamespace } from '../../src/testing.js';
import type { Control, ServerState } from './control.js';
import { type Fields, isMap } from './grammar.js';
import type { Place } from './runner.js';

/** Delay of the calls of a paused server: longer than all deadlines. */
const PAUSE_MS = 3_600_000;
const NAMES: Record<string, keyof FakeNamespace> = {
  ttl: 'ttl',
  max_ttl: 'maxTtl',
  stale_while_revalidate: 'staleWhileRevalidate',
  stale_if_error: 'staleIfError',
  lease_ttl: 'leaseTtl',
  lease_wait: 'leaseWait',
  abandon_backoff: 'backoff',
  max_value_bytes: 'maxValueBytes',
};

type Settings = Record<string, number>;

function settings(given: Settings): FakeNamespace {
  const known = Object.entries(given).filter(([name]) => name in NAMES);
  return Object.fromEntries(known.map(([name, value]) => [NAMES[name]!, value]));
}

/** A request as the control program has it: names of the proto, without defaults. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(plain);
  if (!isMap(value)) return value;
  if (typeof value.seconds === 'bigint') {
    return `${Number(value.seconds) + (value.nanos as number) / 1e9}s`;
  }
  const made: Fields = {};
  for (const [name, member] of Object.entries(value)) {
    if (isMap(member) && typeof member.$case === 'string') {
      made[snake(member.$case)] = plain(member.value);
    } else if (!isDefault(member)) {
      made[snake(name)] = name === 'params' ? member : plain(member);
    }
  }
  return made;
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function isDefault(value: unknown): boolean {
  if (value === undefined || value === '' || value === 0 || value === false || value === 0n) {
    return true;
  }
  return (Array.isArray(value) || value instanceof Uint8Array) && value.length === 0;
}

/** The rules of `larder.toml`. */
const EVENTS = {
  user_changed: [{ namespace: 'events', tags: ['user-{user}'] }],
  user_moved: [{ namespace: 'events', pattern: '{user}:*' }],
};

/** A fake for one case. */
export class FakeServer implements Place {
  static readonly features = ['server', 'calls', 'pass_on', 'near_cache'];
  private readonly fake: FakeLarder;
  /** What a case asks of the control program, answered by the fake. */
  readonly control: Control;

  constructor(configuration: Record<string, Settings>, namespaces: readonly string[]) {
    const { '': standard, ...named } = configuration;
    const all: Record<string, FakeNamespace> = {};
    // The fake has no defaults of all namespaces, so that those of the case are named.
    for (const name of namespaces) all[name] = settings(standard!);
    for (const [name, own] of Object.entries(named)) all[name] = settings({ ...standard, ...own });
    this.fake = new FakeLarder({ namespaces: all, events: EVENTS });
    this.control = {
      do: (command: string, args: { method?: string } = {}) => this.answer(command, args.method),
      server: (state: ServerState) => this.setState(state),
    } as unknown as Control;
  }

  reach(_via: string, target: string | undefined): Fields {
    return target === undefined ? { transport: this.fake.transport } : { target };
  }

  /** Moves the clock of the fake, and lets callers run. */
  async advance(ms: number): Promise<void> {
    this.fake.advance(ms);
    await sleep(20);
  }

  async connections(): Promise<Fields> {
    throw new Error('the fake has no connections');
  }

  async restore(): Promise<void> {
    this.fake.recover();
  }

  private async setState(state: ServerState): Promise<void> {
    this.fake.recover();
    if (state === 'stop') {
      this.fake.fail({ code: 'UNAVAILABLE' });
      this.fake.disturbWatches('break');
    } else if (state === 'pause') this.fake.delay = PAUSE_MS;
  }

  private async answer(command: string, method: string | undefined): Promise<Fields> {
    if (command !== 'calls') throw new Error(`the fake has no ${command}`);
    const chosen = this.fake.calls.filter((call) => method === undefined || call.method === method);
    const calls = chosen.map((call) => ({ method: call.method, request: plain(call.request) }));
    return { calls, count: calls.length };
  }
}
