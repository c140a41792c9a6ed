import { canonical, dateText, NotCanonical } from './canonical.js';

/**
 * Text of values that are no text: an equal text must not share their key, so that it is a param,
 * too.
 */
const LOOKS_TYPED = /^(?:null|true|false|-?\d+(?:\.\d+)?e[+-]?\d+|-?\d+\.\d+|[[{][^]*)$/;
const FIELD = /\{\{|\}\}|\{([^{}]*)\}|[{}]/g;
const ROOT = /^\w+/;
const STEP = /\.([A-Za-z_$][\w$]*)|\[([^[\]]+)\]/y;

interface Field {
  readonly root: string;
  readonly steps: readonly string[];
  readonly text: string;
}

/**
 * A text with arguments in braces, such as `user:{id}` or `{company.id}:{status}`. `{{` and `}}`
 * stand for braces.
 */
export class Template {
  /** Texts, and the fields between them. */
  private readonly literals: string[] = [];
  private readonly fields: Field[] = [];
  /** The arguments that the template names. */
  readonly names: ReadonlySet<string>;

  /** @throws TypeError if it is not a template */
  constructor(
    readonly source: string,
    known: readonly string[] | undefined,
  ) {
    let literal = '';
    let position = 0;
    for (const match of source.matchAll(FIELD)) {
      literal += source.slice(position, match.index);
      position = match.index + match[0].length;
      if (match[0] === '{{' || match[0] === '}}') {
        literal += match[0][0];
      } else if (match[1] === undefined) {
        throw new TypeError(`key: ${JSON.stringify(source)} has a brace without its other`);
      } else {
        this.literals.push(literal);
        literal = '';
        this.fields.push(this.field(match[1], known));
      }
    }
    this.literals.push(literal + source.slice(position));
    this.names = new Set(this.fields.map(({ root }) => root));
  }

  private field(source: string, known: readonly string[] | undefined): Field {
    const root = ROOT.exec(source)?.[0];
    const where = `key: ${JSON.stringify(this.source)} has the field {${source}}`;
    if (root === undefined) {
      throw new TypeError(`${where}; a field begins with the name of an argument`);
    }
    if (known === undefined ? !/^\d+$/.test(root) : !known.includes(root)) {
      const names = known === undefined ? 'positions such as {0}, without args' : known.join(', ');
      throw new TypeError(`${where}, which is not an argument (they are: ${names})`);
    }
    const steps: string[] = [];
    STEP.lastIndex = root.length;
    while (STEP.lastIndex < source.length) {
      const step = STEP.exec(source);
      if (step === null) {
        throw new TypeError(`${where}; after the name only .member and [item] are possible`);
      }
      steps.push(step[1] ?? step[2]!);
    }
    return { root, steps, text: source };
  }

  /** The text for these arguments, and those of them that it does not show clearly. */
  render(args: ReadonlyMap<string, unknown>): { key: string; unclear: ReadonlySet<string> } {
    let key = this.literals[0]!;
    const unclear = new Set<string>();
    const inner = this.literals.slice(1, -1);
    const separators = new Set(inner.join(''));
    for (const [index, { root, steps, text }] of this.fields.entries()) {
      let value = args.get(root);
      for (const step of steps) value = (value as Record<string, unknown> | undefined)?.[step];
      if (value === undefined) throw new NotCanonical('the template needs it', text);
      const { shown, clear } = show(value, text);
      // `a:b` is the text of two pairs for `{x}:{y}`, if values may have a colon.
      const split =
        inner.length > 0 &&
        (inner.includes('') || [...shown].some((character) => separators.has(character)));
      if (!clear || split) unclear.add(root);
      key += shown + this.literals[index + 1]!;
    }
    return { key, unclear };
  }
}

/** The text of a value, and whether no value of another type has the same. */
function show(value: unknown, path: string): { shown: string; clear: boolean } {
  if (value instanceof Date) return { shown: dateText(value, path), clear: false };
  const form = canonical(value, path);
  if (!form.startsWith('"')) return { shown: form, clear: true };
  const shown = JSON.parse(form) as string;
  return { shown, clear: !LOOKS_TYPED.test(shown) };
}
