/** Runs the steps of a case. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, LarderError, type Namespace } from '../../src/index.js';
import { asData, CALLS, camel, counter, errorAsData } from './calls.js';
import type { Control } from './control.js';
import { DecoratedFunctions } from './functions.js';
import {
  type Bound, expand, type Fields, fits, match, matchStep, milliseconds, Mismatch,
} from './grammar.js';
import { CountedLoader, Gate, LoaderFailed } from './loaders.js';
import { inSpan } from './spans.js';
import { Watching } from './watching.js';

/** Milliseconds for a state that must come, between two looks, and for a step. */
const WAIT_MS = 10_000;
const PAUSE_MS = 20;
const STEP_MS = 60_000;
const KINDS = [
  'do', 'join', 'cancel', 'open', 'loading', 'loads', 'advance', 'server', 'fault',
  'connections', 'script', 'calls', 'counters', 'watched',
] as const;
type Step = Record<string, any>;

/** A case of the suite. */
export interface Case {
  id: string;
  needs?: string[];
  via?: string;
  namespace?: unknown;
  clients?: Record<string, Fields>;
  handles?: Record<string, Fields>;
  loaders?: Record<string, Fields>;
  steps: Step[];
}

/** The server under a case. */
export interface Place {
  /** Options of a client that reach the server. */
  reach(via: string, target: string | undefined): Fields;
  advance(ms: number): Promise<void>;
  connections(): Promise<Fields>;
  restore(): Promise<void>;
  readonly control: Control;
}

/** One case on one kind of server. */
export class CaseRun {
  private readonly bound: Bound = new Map();
  private readonly clients = new Map<string, Client>();
  private readonly handles = new Map<string, Namespace>();
  private readonly tasks = new Map<string, { call: Promise<any>; cancel: AbortController }>();
  private readonly watches = new Map<string, Watching>();
  private readonly functions = new Map<string, DecoratedFunctions>();
  private readonly gates = new Map<string, Gate>();
  private readonly loaders = new Map<string, CountedLoader>();

  constructor(private readonly test: Case, private readonly place: Place) {
    for (const [name, spec] of Object.entries(test.loaders ?? {})) {
      const gate = spec.gate as string | undefined;
      if (gate !== undefined && !this.gates.has(gate)) this.gates.set(gate, new Gate());
      this.loaders.set(name, new CountedLoader(spec, this.gates.get(gate ?? '')));
    }
  }

  /** Runs all steps. Throws `Mismatch` with the step that is not as expected. */
  async run(): Promise<void> {
    try {
      this.openHandles();
      for (const [index, step] of this.test.steps.entries()) {
        await this.step(step).catch((error: Error) => {
          error.message += `\n${this.test.id}: step ${index + 1}: ${JSON.stringify(step)}`;
          throw error;
        });
      }
    } finally {
      for (const gate of this.gates.values()) gate.open();
      for (const { cancel } of this.tasks.values()) cancel.abort();
      await Promise.allSettled([...this.tasks.values()].map(({ call }) => call));
      await this.place.restore();
      for (const client of this.clients.values()) await client.close();
      for (const watch of this.watches.values()) watch.end();
    }
  }

  private openHandles(): void {
    for (const [name, options] of Object.entries(this.test.clients ?? { a: {} })) {
      this.clients.set(name, this.newClient(options));
    }
    const names = [...this.clients.keys()].map((name) => [name, {}] as const);
    const others = Object.entries(this.test.handles ?? {});
    for (const [name, settings] of [...names, ...others]) {
      // A name that is refused: the error is that of the step that uses the handle.
      if (this.test.namespace !== '') this.newHandle(name, settings);
    }
  }

  private newClient(options: Fields): Client {
    const { target, ...given } = expand(options, this.bound) as Fields;
    const made: Fields = { preset: 'local', logger: null };
    for (const [name, value] of Object.entries(given)) made[camel(name)] = value;
    const reach = this.place.reach(this.test.via ?? 'server', target as string | undefined);
    return new Client({ ...made, ...reach });
  }

  private newHandle(name: string, settings: Fields): Namespace {
    const { client, namespace, ...given } = settings as any;
    const owner = this.clients.get(client ?? (this.clients.has(name) ? name : 'a'))!;
    const options: Fields = {};
    for (const [option, value] of Object.entries(given)) options[camel(option)] = value;
    const standard = this.test.namespace ?? this.test.id.replace('/', '-');
    const made = owner.namespace(expand(namespace ?? standard, this.bound), options);
    this.handles.set(name, made);
    return made;
  }

  private async step(step: Step): Promise<void> {
    const { for_each: every, as: task, ...plain } = step;
    if (every !== undefined) {
      for (const item of expand(every, this.bound)) {
        this.bound.set('$each', item);
        await this.step(plain);
      }
      return;
    }
    if (task !== undefined && step.do === 'watch') {
      const namespace = this.handles.get(step.handle ?? 'a')!;
      this.watches.set(task, new Watching(namespace, step.args));
      return;
    }
    if (task !== undefined) {
      const cancel = new AbortController();
      const call = this.call(plain, cancel.signal);
      // It is joined later.
      call.catch(() => {});
      this.tasks.set(task, { call, cancel });
      await sleep(PAUSE_MS);
      return;
    }
    const limit = step.wait_until === true ? WAIT_MS : (milliseconds(step.wait_until) ?? 0);
    const deadline = performance.now() + limit;
    for (;;) {
      try {
        return await this.once(step);
      } catch (error) {
        const passes = error instanceof Mismatch || error instanceof LarderError;
        if (!passes || performance.now() >= deadline) throw error;
      }
      await sleep(PAUSE_MS);
    }
  }

  private async once(step: Step): Promise<void> {
    const begun = performance.now();
    const kind = KINDS.find((name) => name in step)!;
    if (kind === 'do') await this.check(step, this.call(step));
    else if (kind === 'join') await this.check(step, this.tasks.get(step.join)!.call);
    else await this.controls[kind](step);
    const took = performance.now() - begun;
    const least = milliseconds(step.at_least) ?? 0;
    if (took < least || took > (milliseconds(step.within) ?? STEP_MS)) {
      throw new Mismatch(`it took ${took} ms`);
    }
  }

  private async check(step: Step, call: Promise<any>): Promise<void> {
    let result: any;
    try {
      result = await call;
    } catch (error) {
      if (step.raises === undefined) throw error;
      return this.checkError(step.raises, error as Error);
    }
    if (step.raises !== undefined) {
      throw new Mismatch(`nothing was thrown: ${JSON.stringify(result)}`);
    }
    if (step.expect !== undefined) matchStep(step.expect, result, this.bound);
    for (const [name, field] of Object.entries(step.bind ?? {})) {
      this.bound.set(name, result[field as string]);
    }
  }

  private checkError(expected: Fields, error: Error): void {
    const isExpected = expected.cancelled === true
      ? error.name === 'AbortError' || (error as any).code === 'CANCELLED'
      : expected.loader === true
        ? error instanceof LoaderFailed
        : error instanceof LarderError || error instanceof TypeError || error instanceof RangeError;
    if (!isExpected) throw error;
    const data = errorAsData(error)!;
    const plain = (text: unknown) => String(text ?? '').toLowerCase().replaceAll('_', '');
    if (!plain(data.message).includes(plain(expected.message))) {
      throw new Mismatch(`the message is ${String(data.message)}`);
    }
    for (const name of ['class', 'code', 'reason', 'retry_after']) {
      if (name in expected) match(expected[name], data[name], `error.${name}`, this.bound);
    }
  }

  private async call(step: Step, signal?: AbortSignal): Promise<any> {
    if (step.traced !== undefined) {
      const bind = (traceId: string) => this.bound.set(step.traced, traceId);
      return inSpan(bind, () => this.oneCall(step, signal));
    }
    if (step.copies === undefined) return this.oneCall(step, signal);
    return Promise.all(Array.from({ length: step.copies }, () => this.oneCall(step, signal)));
  }

  private async oneCall(step: Step, signal?: AbortSignal): Promise<any> {
    const name: string = step.handle ?? 'a';
    const args = expand(step.args ?? {}, this.bound);
    if (step.do === 'connect') return this.clients.get(name)!.connect();
    if (step.do === 'close') return this.clients.get(name)!.close();
    if (step.do === 'new_client') return this.newClient(args).close();
    if (args.loader !== undefined) args.loader = this.loaders.get(args.loader);
    const namespace = this.handles.get(name) ?? this.newHandle(name, {});
    if (step.do === 'call') {
      const functions = this.functions.get(name) ?? new DecoratedFunctions(namespace);
      this.functions.set(name, functions);
      return functions.call(args);
    }
    return asData(await CALLS[step.do]!(namespace, args, signal));
  }

  private readonly controls: Record<Exclude<typeof KINDS[number], 'do' | 'join'>,
    (step: Step) => Promise<unknown> | void> = {
    cancel: (step) => this.tasks.get(step.cancel)!.cancel.abort(),
    open: (step) => this.gates.get(step.open)!.open(),
    advance: (step) => {
      const ms = milliseconds(step.advance)!;
      return step.real === true ? sleep(ms) : this.place.advance(ms);
    },
    server: (step) => this.place.control.server(step.server),
    fault: (step) => this.place.control.do('fault', {
      kind: step.fault, delay: milliseconds(step.delay) ?? 0,
    }),
    script: (step) => this.place.control.do('script', { rules: step.script }),
    connections: async (step) => {
      match(step.connections, await this.place.connections(), 'connections', this.bound);
    },
    loading: async (step) => {
      const deadline = performance.now() + WAIT_MS;
      for (const [name, number] of Object.entries(step.loading)) {
        while (this.loaders.get(name)!.begun < (number as number)) {
          if (performance.now() > deadline) throw new Mismatch(`${name} has not begun`);
          await sleep(5);
        }
      }
    },
    loads: (step) => {
      for (const [name, number] of Object.entries(step.loads)) {
        match(number, this.loaders.get(name)!.begun, `loads of ${name}`, this.bound);
      }
      for (const [name, keys] of Object.entries(step.loaded_keys ?? {})) {
        match(keys, this.loaders.get(name)!.keys, `keys of ${name}`, this.bound);
      }
    },
    calls: async (step) => {
      const { method, count, each, first, number = 0 } = step.calls;
      const answer = await this.place.control.do('calls', method === undefined ? {} : { method });
      for (const [name, field] of Object.entries(step.bind ?? {})) {
        this.bound.set(name, answer[field as string]);
      }
      if (count !== undefined) match(count, answer.count, 'number of calls', this.bound);
      const { calls } = answer;
      if (each !== undefined) {
        const all = calls.length > 0 && calls.every((call: Fields) => fits(each, call, this.bound));
        if (!all) throw new Mismatch(`not every call fits: ${JSON.stringify(calls)}`);
      }
      if (first === undefined) return;
      if (number >= calls.length) throw new Mismatch(`there are ${calls.length} calls`);
      match(first, calls[number], 'call', this.bound);
    },
    watched: (step) => {
      const { events, ended } = this.watches.get(step.watched)!;
      if (step.ended === true && !ended) throw new Mismatch('the iterator goes on');
      let at = 0;
      for (const expected of step.expect ?? []) {
        while (at < events.length && !fits(expected, events[at], this.bound)) at += 1;
        if (at === events.length) {
          throw new Mismatch(`no ${JSON.stringify(expected)} in ${JSON.stringify(events)}`);
        }
        at += 1;
      }
      if (step.never !== undefined && events.some((one) => fits(step.never, one, this.bound))) {
        throw new Mismatch(`${JSON.stringify(step.never)} is in ${JSON.stringify(events)}`);
      }
    },
    counters: (step) => {
      for (const [name, number] of Object.entries(step.counters)) {
        match(number, counter(this.clients.get('a')!, name), name, this.bound);
      }
    },
  };
}

/** The real server, with what the control program offers. */
export class RealServer implements Place {
  static readonly features = ['server', 'proxy', 'gateway', 'calls', 'pass_on', 'near_cache'];
  private accepted = 0;

  constructor(readonly control: Control) {}

  /** Clears what a former case has left. */
  async prepare(needs: readonly string[]): Promise<void> {
    if (!['calls', 'gateway', 'proxy'].some((need) => needs.includes(need))) return;
    await this.control.clear();
    this.accepted = (await this.control.do('connections')).accepted;
  }

  reach(via: string, target: string | undefined): Fields {
    const { addresses } = this.control;
    const named = target?.replace(/\{(\w+)\}/g, (_, name: string) => addresses[name]!);
    return { target: named ?? addresses[via] };
  }

  async connections(): Promise<Fields> {
    const { accepted, open } = await this.control.do('connections');
    return { accepted: accepted - this.accepted, open };
  }

  /** Lets real time pass: the server's clock cannot be set. */
  async advance(ms: number): Promise<void> {
    await sleep(ms);
  }

  restore(): Promise<void> {
    return this.control.restore();
  }
}
