/** The loaders of a case, which are counted and can be held back by a gate. */
import { setTimeout as sleep } from 'node:timers/promises';
import { loaded } from '../../src/index.js';
import { expand, type Fields, milliseconds } from './grammar.js';

const LIMIT_MS = 20_000;

/** The failure of a loader on purpose. */
export class LoaderFailed extends Error {
  override name = 'LoaderFailed';
}

/** Holds loaders back until it is opened. */
export class Gate {
  open!: () => void;
  private readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });

  async pass(): Promise<void> {
    const limit = new AbortController();
    const late = sleep(LIMIT_MS, undefined, { signal: limit.signal, ref: false })
      .then(() => Promise.reject(new Error('the gate was not opened')), () => {});
    await Promise.race([this.opened, late]);
    limit.abort();
  }
}

/** A loader of a case. */
export class CountedLoader {
  begun = 0;
  readonly keys: unknown[] = [];

  constructor(private readonly spec: Fields, private readonly gate: Gate | undefined) {}

  readonly one = async (): Promise<unknown> => {
    await this.begin();
    const { spec } = this;
    const value = expand(spec.value ?? null, new Map());
    const options: Fields = {};
    for (const name of ['tags', 'store', 'ttl']) {
      if (name in spec) options[name] = spec[name];
    }
    return Object.keys(options).length === 0 ? value : loaded(value, options);
  };

  readonly many = async (keys: readonly unknown[]): Promise<any> => {
    this.keys.push([...keys]);
    await this.begin();
    const values = this.spec.by_key as Fields;
    const found = keys.filter((key) => Object.hasOwn(values, key as string));
    return new Map(found.map((key) => [key, values[key as string]]));
  };

  private async begin(): Promise<void> {
    this.begun += 1;
    const delay = milliseconds(this.spec.delay);
    if (delay !== undefined) await sleep(delay);
    await this.gate?.pass();
    if (this.spec.fail !== undefined) throw new LoaderFailed(this.spec.fail as string);
  }
}
