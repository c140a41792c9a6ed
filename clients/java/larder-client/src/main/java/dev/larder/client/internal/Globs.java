package dev.larder.client.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.function.IntPredicate;
import java.util.function.Predicate;

/** Patterns of keys as the server matches them. */
public final class Globs {
  /** Any characters, in place of a predicate for one. */
  private static final IntPredicate STAR =
      new IntPredicate() {
        @Override
        public boolean test(int character) {
          return true;
        }
      };

  private static final IntPredicate ANY = character -> true;

  private final int[] glob;
  private final List<IntPredicate> tokens = new ArrayList<>();
  private int at;

  private Globs(String glob) {
    this.glob = glob.codePoints().toArray();
  }

  /**
   * A pattern over the whole key: {@code *}, {@code ?}, {@code [a-z]}, {@code [^a-z]}, {@code
   * [!a-z]} and {@code \}. Null if it is not a valid one. The time of a match grows with the
   * lengths of the pattern and of the key, whatever they are.
   */
  public static Predicate<String> matcher(String glob) {
    Globs parser = new Globs(glob);
    if (!parser.parse()) {
      return null;
    }
    IntPredicate[] tokens = parser.tokens.toArray(IntPredicate[]::new);
    return key -> matches(tokens, key);
  }

  /** Of several stars only the last must be tried again: the ones before have what they need. */
  private static boolean matches(IntPredicate[] tokens, String key) {
    int token = 0;
    int at = 0;
    int star = -1;
    int begun = 0;
    while (at < key.length()) {
      int character = key.codePointAt(at);
      if (token < tokens.length && tokens[token] == STAR) {
        star = token++;
        begun = at;
      } else if (token < tokens.length && tokens[token].test(character)) {
        token++;
        at += Character.charCount(character);
      } else if (star >= 0) {
        begun += Character.charCount(key.codePointAt(begun));
        at = begun;
        token = star + 1;
      } else {
        return false;
      }
    }
    while (token < tokens.length && tokens[token] == STAR) {
      token++;
    }
    return token == tokens.length;
  }

  private boolean parse() {
    while (at < glob.length) {
      int character = glob[at++];
      IntPredicate token;
      if (character == '*') {
        token = STAR;
      } else if (character == '?') {
        token = ANY;
      } else if (character == '\\') {
        if (at == glob.length) {
          return false;
        }
        token = one(glob[at++]);
      } else if (character == '[') {
        token = characterClass();
      } else {
        token = one(character);
      }
      if (token == null) {
        return false;
      }
      tokens.add(token);
    }
    return true;
  }

  private static IntPredicate one(int character) {
    return other -> other == character;
  }

  /** A class of characters; null if it is not a valid one. */
  private IntPredicate characterClass() {
    boolean negated = at < glob.length && (glob[at] == '^' || glob[at] == '!');
    if (negated) {
      at++;
    }
    IntPredicate members = character -> false;
    // A bracket that comes first is a member.
    for (boolean first = true; at < glob.length && (first || glob[at] != ']'); first = false) {
      int low = member();
      int high = low;
      if (at + 1 < glob.length && glob[at] == '-' && glob[at + 1] != ']') {
        at++;
        high = member();
      }
      if (low < 0 || high < low) {
        return null;
      }
      int begin = low;
      int end = high;
      members = members.or(character -> begin <= character && character <= end);
    }
    if (at >= glob.length) {
      return null;
    }
    at++;
    return negated ? members.negate() : members;
  }

  /** The next member of a class; -1: it ends. */
  private int member() {
    if (glob[at] == '\\') {
      at++;
    }
    return at < glob.length ? glob[at++] : -1;
  }
}
