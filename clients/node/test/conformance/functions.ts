/** The decorated functions of the cases about the keys of calls. */
import { cached, type Namespace } from '../../src/index.js';
import type { Fields } from './grammar.js';

const ARGS: Record<string, readonly string[]> = {
  f: ['a', 'b', 'c'],
  v: ['value'],
  user: ['user_id', 'page'],
  g: ['a', 'db'],
  pair: ['a', 'b'],
};

/** The functions on one namespace, with the number of times that each has run. */
export class DecoratedFunctions {
  private readonly runs: Record<string, number> = {};
  private readonly functions: Record<string, (...args: any[]) => Promise<unknown>>;

  constructor(namespace: Namespace) {
    const count = (name: string) => {
      this.runs[name] = (this.runs[name] ?? 0) + 1;
    };
    function f(a: unknown, b: unknown = 2, c?: unknown): unknown {
      count('f');
      return { a, b, c };
    }
    function v(_value: unknown): unknown {
      count('v');
      return null;
    }
    function user(_userId: unknown, _page: unknown = 1): unknown {
      count('user');
      return null;
    }
    function g(_a: unknown, _db: unknown): unknown {
      count('g');
      return null;
    }
    function pair(_a: unknown, _b: unknown): unknown {
      count('pair');
      return null;
    }
    const common = { namespace, ttl: '60s' };
    this.functions = {
      f: cached(f, { ...common, args: ARGS.f!, defaults: { b: 2 } }),
      v: cached(v, { ...common, args: ARGS.v! }),
      user: cached(user, {
        ...common, args: ARGS.user!, defaults: { page: 1 }, key: 'user:{user_id}',
      }),
      g: cached(g, { ...common, args: ARGS.g!, ignore: ['db'] }),
      pair: cached(pair, { ...common, args: ARGS.pair!, key: '{a}:{b}' }),
    };
  }

  /** Calls a function. JavaScript has no arguments by name: they are put in their places. */
  async call({ function: name, positional, named }: any): Promise<Fields> {
    const args = [...positional];
    for (const [argument, value] of Object.entries(named)) {
      args[ARGS[name]!.indexOf(argument)] = value;
    }
    const value = await this.functions[name]!(...args);
    return { value, runs: this.runs[name] ?? 0 };
  }
}
