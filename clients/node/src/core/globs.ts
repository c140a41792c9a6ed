/**
 * A pattern as the server matches it: `*`, `?`, `[a-z]`, `[^a-z]`, `[!a-z]` and `\`, over the whole
 * key. Undefined if it is not a valid one.
 */
export function globMatcher(glob: string): ((key: string) => boolean) | undefined {
  let source = '';
  const characters = [...glob];
  for (let index = 0; index < characters.length; index += 1) {
    const character = characters[index]!;
    if (character === '*') {
      source += '[^]*';
    } else if (character === '?') {
      source += '[^]';
    } else if (character === '\\') {
      index += 1;
      if (index === characters.length) return undefined;
      source += escape(characters[index]!);
    } else if (character === '[') {
      const end = classEnd(characters, index);
      if (end === undefined) return undefined;
      source += characterClass(characters.slice(index + 1, end));
      index = end;
    } else {
      source += escape(character);
    }
  }
  try {
    const pattern = new RegExp(`^${source}$`, 'u');
    return (key) => pattern.test(key);
  } catch (error) {
    // A range whose end is before its begin.
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}

function escape(character: string): string {
  return /[\\^$.*+?()[\]{}|/-]/.test(character) ? `\\${character}` : character;
}

function classEnd(characters: string[], start: number): number | undefined {
  let index = start + 1;
  if (characters[index] === '^' || characters[index] === '!') index += 1;
  // A bracket that comes first is a member.
  if (characters[index] === ']') index += 1;
  for (; index < characters.length; index += 1) {
    if (characters[index] === '\\') index += 1;
    else if (characters[index] === ']') return index;
  }
  return undefined;
}

function characterClass(members: string[]): string {
  const negated = members[0] === '^' || members[0] === '!';
  let source = negated ? '^' : '';
  for (let index = negated ? 1 : 0; index < members.length; index += 1) {
    const member = members[index]!;
    const inside = index > (negated ? 1 : 0) && index < members.length - 1;
    if (member === '-' && inside) {
      source += '-';
    } else if (member === '\\' && index + 1 < members.length) {
      index += 1;
      source += escape(members[index]!);
    } else {
      source += escape(member);
    }
  }
  return `[${source}]`;
}
