import { canonical, NotCanonical } from './canonical.js';
import { Template } from './templates.js';

/** The entry of a call. */
export interface CallKey {
  readonly key: string;
  readonly params: Readonly<Record<string, string>>;
}

/** How calls of a function are named. */
export interface CallKeyOptions<A extends any[]> {
  /**
   * A template such as `user:{id}`, or a function of the arguments. The name of the function by
   * default. Arguments that a template names are not params.
   */
  key?: string | ((...args: A) => string | CallKey);
  /** Names of the arguments, in their order; otherwise they are `0`, `1`, ... */
  args?: readonly string[];
  /** Values of arguments that are left out, by name, so that both spellings are one key. */
  defaults?: Readonly<Record<string, unknown>>;
  /** Names of arguments that are not part of the key. */
  ignore?: readonly string[];
}

/** Makes the keys of the calls of one function: clients/README.md, "Keys of function calls". */
export class CallKeys<A extends any[]> {
  private readonly template: Template | undefined;
  private readonly ignored: ReadonlySet<string>;

  /** @throws TypeError if an option is wrong */
  constructor(
    private readonly name: string,
    private readonly options: CallKeyOptions<A>,
  ) {
    const { key, args, defaults, ignore } = options;
    if (key === undefined && name === '') {
      throw new TypeError('key: the function has no name, so that a key is needed');
    }
    if (key === '') throw new TypeError('key: must not be empty');
    this.template = typeof key === 'string' ? new Template(key, args) : undefined;
    this.ignored = new Set(ignore ?? []);
    for (const named of [...(ignore ?? []), ...Object.keys(defaults ?? {})]) {
      if (args === undefined ? !/^\d+$/.test(named) : !args.includes(named)) {
        const names = args?.join(', ') ?? 'positions such as 0, without args';
        throw new TypeError(`${named} is not an argument (they are: ${names})`);
      }
    }
  }

  /**
   * The key of a call.
   *
   * @throws TypeError that names the argument, if one cannot be part of a key
   */
  key(args: A): CallKey {
    const { key } = this.options;
    if (typeof key === 'function') {
      const built = key(...args);
      if (typeof built === 'object' && built !== null) return built;
      if (typeof built !== 'string' || built === '') {
        throw new TypeError('key: the function must return text that is not empty');
      }
      return { key: built, params: {} };
    }
    const named = this.named(args);
    try {
      const rendered = this.template?.render(named);
      const params: Record<string, string> = {};
      for (const [name, value] of named) {
        const shown = this.template?.names.has(name) && !rendered!.unclear.has(name);
        if (shown || this.ignored.has(name)) continue;
        params[name] = canonical(value, name);
      }
      return { key: rendered?.key ?? this.name, params };
    } catch (error) {
      if (!(error instanceof NotCanonical)) throw error;
      const of = this.name === '' ? '' : ` of ${this.name}`;
      throw new TypeError(`the argument ${error.path}${of}: ${error.why}`);
    }
  }

  /** The arguments by name, with the defaults. One without a value is left out. */
  private named(args: A): Map<string, unknown> {
    const { args: names, defaults } = this.options;
    const named = new Map<string, unknown>(Object.entries(defaults ?? {}));
    for (const [index, value] of args.entries()) {
      // A signal says how long a call is wanted, not what it is.
      if (value === undefined || value instanceof AbortSignal) continue;
      const name = names === undefined ? String(index) : names[index];
      if (name === undefined) {
        throw new TypeError(`${this.name}: argument ${index} has no name in args`);
      }
      named.set(name, value);
    }
    return named;
  }
}
