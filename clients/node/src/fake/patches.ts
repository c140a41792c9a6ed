/** A patch that does not apply to a value. */
export class NotApplicable extends Error {}

/** A value of JSON. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

function isObject(value: Json | undefined): value is { [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function own(object: { [name: string]: Json }, name: string): Json | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

function define(object: { [name: string]: Json }, name: string, value: Json): void {
  Object.defineProperty(object, name, {
    value, configurable: true, enumerable: true, writable: true,
  });
}

/** JSON Merge Patch (RFC 7396). */
export function mergePatch(target: Json, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: { [name: string]: Json } = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else define(merged, name, mergePatch(own(merged, name) ?? null, value));
  }
  return merged;
}

interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: Json;
}

/** JSON Patch (RFC 6902): all operations, or an error. */
export function jsonPatch(target: Json, operations: Operation[]): Json {
  let document = { root: structuredClone(target) };
  for (const [index, operation] of operations.entries()) {
    try {
      document = { root: apply(document.root, operation) };
    } catch (error) {
      if (!(error instanceof NotApplicable)) throw error;
      throw new NotApplicable(
        `the patch does not apply: operation ${index} at "${operation.path}": ${error.message}`,
      );
    }
  }
  return document.root;
}

function apply(root: Json, { op, path, from, value }: Operation): Json {
  switch (op) {
    case 'add':
      return add(root, path, value!);
    case 'remove':
      return remove(root, path).root;
    case 'replace':
      return add(remove(root, path).root, path, value!);
    case 'move': {
      const removed = remove(root, from!);
      return add(removed.root, path, removed.value);
    }
    case 'copy':
      return add(root, path, structuredClone(find(root, from!)));
    case 'test':
      if (JSON.stringify(sorted(find(root, path))) !== JSON.stringify(sorted(value!))) {
        throw new NotApplicable('value did not match');
      }
      return root;
    default:
      throw new TypeError(`unknown op "${op}"`);
  }
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  const names = Object.keys(value).sort();
  return Object.fromEntries(names.map((name) => [name, sorted(value[name]!)]));
}

function steps(pointer: string): string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw new NotApplicable('path is invalid');
  return pointer.slice(1).split('/').map((step) => step.replace(/~1/g, '/').replace(/~0/g, '~'));
}

function find(root: Json, pointer: string): Json {
  let value: Json | undefined = root;
  for (const step of steps(pointer)) {
    if (Array.isArray(value)) value = value[position(step, value.length - 1)];
    else value = isObject(value) ? own(value, step) : undefined;
    if (value === undefined) throw new NotApplicable('path is invalid');
  }
  return value;
}

function position(step: string, last: number): number {
  if (!/^(0|[1-9]\d*)$/.test(step) || Number(step) > last) {
    throw new NotApplicable('path is invalid');
  }
  return Number(step);
}

function parent(root: Json, pointer: string): { container: Json; step: string } {
  const path = steps(pointer);
  const step = path.pop()!;
  const up = path.map((each) => `/${each.replace(/~/g, '~0').replace(/\//g, '~1')}`).join('');
  return { container: find(root, up), step };
}

function add(root: Json, pointer: string, value: Json): Json {
  if (pointer === '') return value;
  const { container, step } = parent(root, pointer);
  if (Array.isArray(container)) {
    const at = step === '-' ? container.length : position(step, container.length);
    container.splice(at, 0, value);
  } else if (isObject(container)) {
    define(container, step, value);
  } else {
    throw new NotApplicable('path is invalid');
  }
  return root;
}

function remove(root: Json, pointer: string): { root: Json; value: Json } {
  const value = find(root, pointer);
  if (pointer === '') return { root: null, value };
  const { container, step } = parent(root, pointer);
  if (Array.isArray(container)) container.splice(position(step, container.length - 1), 1);
  else if (isObject(container)) delete container[step];
  return { root, value };
}
