import { checkTags } from '../core/checks.js';
import { invalid } from '../core/errors.js';
import { globMatcher } from '../core/globs.js';
import type { Target } from '../gen/larder/v1/cache_service.js';

/**
 * Selects what an event invalidates, as `[[events.<name>]]` in the server's configuration: at most
 * one of `pattern`, `key` and `tags`, or else the whole namespace. `{name}` is the value of an
 * attribute, `{a|b}` that of the first that has one, and `{{` and `}}` are braces.
 */
export interface FakeRule {
  namespace: string;
  /** A pattern of keys. Attributes have no special meaning in it. */
  pattern?: string;
  key?: string;
  /** Params of `key`. */
  params?: Readonly<Record<string, string>>;
  tags?: readonly string[];
  /** Values that attributes must have. */
  when?: Readonly<Record<string, string>>;
}

/** The rules of an event, or a function from its attributes to targets. */
export type FakeEvent =
  | readonly FakeRule[]
  | ((attributes: Readonly<Record<string, string>>) => Target[]);

type Attributes = Readonly<Record<string, string>>;

/**
 * The targets of an event.
 *
 * @throws InvalidArgument if an attribute that a rule needs is missing or empty
 */
export function targetsOf(rules: FakeEvent, attributes: Attributes): Target[] {
  if (typeof rules === 'function') return rules(attributes);
  const applying = rules.filter(({ when }) =>
    Object.entries(when ?? {}).every(([name, value]) => own(attributes, name) === value),
  );
  return applying.map((rule) => ({ target: targetOf(rule, attributes) }));
}

function targetOf(rule: FakeRule, attributes: Attributes): NonNullable<Target['target']> {
  const { namespace, pattern, key, params, tags } = rule;
  if (pattern !== undefined) {
    const glob = fill(pattern, attributes, (value) => value.replace(/[*?[\]\\]/g, '\\$&'));
    globMatcher(glob, 'attributes');
    return { $case: 'pattern', value: { namespace, glob } };
  }
  if (key !== undefined) {
    const filled = Object.entries(params ?? {}).map(
      ([name, value]) => [name, fill(value, attributes)] as const,
    );
    const value = { namespace, key: fill(key, attributes), params: Object.fromEntries(filled) };
    return { $case: 'key', value };
  }
  if (tags !== undefined) {
    const filled = tags.map((tag) => fill(tag, attributes));
    checkTags(filled, 'attributes');
    return { $case: 'tags', value: { namespace, tags: filled } };
  }
  return { $case: 'namespace', value: namespace };
}

function own(attributes: Attributes, name: string): string | undefined {
  return Object.hasOwn(attributes, name) ? attributes[name] : undefined;
}

function fill(
  template: string,
  attributes: Attributes,
  escape: (value: string) => string = (value) => value,
): string {
  return template.replace(/\{\{|\}\}|\{([^{}]*)\}/g, (whole, names: string | undefined) => {
    if (names === undefined) return whole[0]!;
    const given = names.split('|');
    const value = given.map((name) => own(attributes, name)).find((each) => Boolean(each));
    if (value !== undefined) return escape(value);
    const missing = given.every((name) => own(attributes, name) === undefined);
    throw invalid(
      `attributes.${given[0]}`, missing ? `must be set: "${whole}" needs it` : 'must not be empty',
    );
  });
}
