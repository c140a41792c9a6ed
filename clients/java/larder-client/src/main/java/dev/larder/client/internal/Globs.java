package dev.larder.client.internal;

import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/** Patterns of keys as the server matches them. */
public final class Globs {
  private Globs() {}

  /**
   * A pattern over the whole key: {@code *}, {@code ?}, {@code [a-z]}, {@code [^a-z]}, {@code
   * [!a-z]} and {@code \}. Null if it is not a valid one.
   */
  public static Predicate<String> matcher(String glob) {
    StringBuilder source = new StringBuilder();
    int[] characters = glob.codePoints().toArray();
    for (int at = 0; at < characters.length; at++) {
      int character = characters[at];
      if (character == '*') {
        source.append(".*");
      } else if (character == '?') {
        source.append('.');
      } else if (character == '\\') {
        at++;
        if (at == characters.length) {
          return null;
        }
        escape(source, characters[at]);
      } else if (character == '[') {
        int end = classEnd(characters, at);
        if (end < 0) {
          return null;
        }
        characterClass(source, characters, at + 1, end);
        at = end;
      } else {
        escape(source, character);
      }
    }
    try {
      Pattern pattern = Pattern.compile(source.toString(), Pattern.DOTALL);
      return key -> pattern.matcher(key).matches();
    } catch (PatternSyntaxException backwards) {
      // A range whose end is before its begin.
      return null;
    }
  }

  private static void escape(StringBuilder source, int character) {
    if (!Character.isLetterOrDigit(character) && character < 128) {
      source.append('\\');
    }
    source.appendCodePoint(character);
  }

  private static boolean negates(int character) {
    return character == '^' || character == '!';
  }

  private static int classEnd(int[] characters, int start) {
    int at = start + 1;
    if (at < characters.length && negates(characters[at])) {
      at++;
    }
    // A bracket that comes first is a member.
    if (at < characters.length && characters[at] == ']') {
      at++;
    }
    for (; at < characters.length; at++) {
      if (characters[at] == '\\') {
        at++;
      } else if (characters[at] == ']') {
        return at;
      }
    }
    return -1;
  }

  private static void characterClass(
      StringBuilder source, int[] characters, int start, int end) {
    source.append('[');
    int first = start;
    if (negates(characters[start])) {
      source.append('^');
      first++;
    }
    for (int at = first; at < end; at++) {
      if (characters[at] == '-' && at > first && at < end - 1) {
        source.append('-');
      } else if (characters[at] == '\\' && at + 1 < end) {
        at++;
        escape(source, characters[at]);
      } else {
        escape(source, characters[at]);
      }
    }
    source.append(']');
  }
}
