import { invalid } from './errors.js';

const MAX_GLOB_BYTES = 1024;
const MAX_WILDCARDS = 32;

type Token =
  /** `*` */
  | 'any'
  /** `?` */
  | 'one'
  /** One character. */
  | number
  /** Ranges of characters, ends included. */
  | { readonly negated: boolean; readonly ranges: readonly (readonly [number, number])[] };

/**
 * A pattern as the server matches it: `*`, `?`, `[a-z]`, `[^a-z]`, `[!a-z]` and `\`, over the whole
 * key. The time is bounded by the product of both lengths: the patterns of others arrive by Watch.
 *
 * @param field the name of the argument, for the error
 * @throws InvalidArgument if the server does not take the pattern
 */
export function globMatcher(glob: string, field = 'glob'): (key: string) => boolean {
  if (typeof glob !== 'string') throw new TypeError(`${field}: expected text, got ${typeof glob}`);
  if (glob === '') throw invalid(field, 'must be set');
  const bytes = Buffer.byteLength(glob);
  if (bytes > MAX_GLOB_BYTES) {
    throw invalid(field, `is ${bytes} bytes long, the limit is ${MAX_GLOB_BYTES}`);
  }
  const tokens = parse(glob, field);
  const wildcards = tokens.filter((token) => typeof token !== 'number').length;
  if (wildcards > MAX_WILDCARDS) {
    throw invalid(field, `has ${wildcards} wildcards, the limit is ${MAX_WILDCARDS}`);
  }
  return (key) => matches(tokens, Array.from(key, (character) => character.codePointAt(0)!));
}

function matches(tokens: readonly Token[], key: readonly number[]): boolean {
  let token = 0;
  let at = 0;
  // Where the last `*` is, and the first character that it does not cover, yet.
  let star = -1;
  let resume = 0;
  while (at < key.length) {
    const expected = tokens[token];
    if (expected === 'any') {
      star = token;
      resume = at;
      token += 1;
    } else if (expected !== undefined && fits(expected, key[at]!)) {
      token += 1;
      at += 1;
    } else if (star >= 0) {
      resume += 1;
      at = resume;
      token = star + 1;
    } else {
      return false;
    }
  }
  while (tokens[token] === 'any') token += 1;
  return token === tokens.length;
}

function fits(token: Exclude<Token, 'any'>, character: number): boolean {
  if (token === 'one') return true;
  if (typeof token === 'number') return token === character;
  const member = token.ranges.some(([start, end]) => start <= character && character <= end);
  return member !== token.negated;
}

function parse(glob: string, field: string): Token[] {
  const characters = [...glob];
  let at = 0;
  const escaped = (): string => {
    const character = characters[at++];
    if (character === undefined) throw invalid(field, "ends with a single '\\'");
    return character;
  };
  const parseClass = (): Token => {
    const negated = characters[at] === '^' || characters[at] === '!';
    if (negated) at += 1;
    const ranges: [number, number][] = [];
    for (;;) {
      let start = characters[at++];
      if (start === undefined) throw invalid(field, "has a '[' without a ']'");
      // A bracket that comes first is a member.
      if (start === ']' && ranges.length > 0) return { negated, ranges };
      if (start === '\\') start = escaped();
      let end = start;
      const last = characters[at + 1];
      if (characters[at] === '-' && last !== undefined && last !== ']') {
        at += 1;
        end = characters[at++]!;
        if (end === '\\') end = escaped();
      }
      const range: [number, number] = [start.codePointAt(0)!, end.codePointAt(0)!];
      if (range[1] < range[0]) {
        throw invalid(field, `has the range '${start}-${end}', which is the wrong way round`);
      }
      ranges.push(range);
    }
  };
  const tokens: Token[] = [];
  while (at < characters.length) {
    const character = characters[at++]!;
    if (character === '*') {
      // Several in a row are one.
      if (tokens.at(-1) !== 'any') tokens.push('any');
    } else if (character === '?') {
      tokens.push('one');
    } else if (character === '[') {
      tokens.push(parseClass());
    } else {
      tokens.push((character === '\\' ? escaped() : character).codePointAt(0)!);
    }
  }
  return tokens;
}
