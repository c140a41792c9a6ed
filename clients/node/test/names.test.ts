import { describe, expect, test } from 'vitest';
import { encodeKey, encodeNamespace, encodeParams } from '../src/core/names.js';

describe('names', () => {
  test.each([
    ['users', 'users'],
    ['0.a_b-c', '0.a_b-c'],
    ['testCache', 'x--testcache-31c3463f6768e21d'],
    ['a:b', 'x--a-b-6783a31eabf68ccc'],
  ])('namespace %s', (name, wire) => expect(encodeNamespace(name)).toBe(wire));

  test('names that the server would not take are encoded, each to another', () => {
    for (const name of ['x--a', '.a', 'A', '☃😀', 'a'.repeat(65), ' ']) {
      expect(encodeNamespace(name)).toMatch(/^x--[a-z0-9._-]{0,40}-[0-9a-f]{16}$/);
    }
    expect(encodeNamespace('😀')).toMatch(/^x----[0-9a-f]{16}$/);
    expect(encodeNamespace('É')).toMatch(/^x----[0-9a-f]{16}$/);
    expect(() => encodeNamespace('')).toThrow('namespace: must not be empty');
  });

  test('long keys are cut between characters', () => {
    expect(encodeKey('k'.repeat(1024))).toHaveLength(1024);
    const long = encodeKey('é'.repeat(513));
    expect(long).toMatch(/^é{450}#[0-9a-f]{64}$/);
    expect(encodeKey('☃'.repeat(400))).toMatch(/^☃{300}#[0-9a-f]{64}$/);
    expect(encodeKey(`x${'☃'.repeat(400)}`)).toMatch(/^x☃{299}#[0-9a-f]{64}$/);
    expect(() => encodeKey('')).toThrow('key: must not be empty');
    expect(() => encodeKey(5 as never)).toThrow('key: expected text, got number');
  });

  test('too many params are one digest, whatever their order', () => {
    const names = Array.from({ length: 65 }, (_, index) => `p${index}`);
    const one = encodeParams(Object.fromEntries(names.map((name) => [name, 'v'])));
    const two = encodeParams(new Map(names.reverse().map((name) => [name, 'v'])));
    expect(one).toEqual({ digest: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(two).toEqual(one);
    expect(Object.keys(encodeParams({ a: 'x'.repeat(8192) }))).toEqual(['digest']);
    expect(() => encodeParams({ a: 1 as never })).toThrow('params.a: expected text, got number');
  });
});
