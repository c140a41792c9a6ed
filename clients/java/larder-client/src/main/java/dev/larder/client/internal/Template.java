package dev.larder.client.internal;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A text with arguments in braces, such as <code>user:{id}</code>. */
public final class Template {
  /**
   * Text of values that are no text: an equal text must not share their key, so that it is a param,
   * too.
   */
  private static final Pattern LOOKS_TYPED =
      Pattern.compile(
          "null|true|false|-?\\d+(?:\\.\\d+)?e[+-]?\\d+|-?\\d+\\.\\d+|[\\[{].*",
          Pattern.DOTALL);

  private static final Pattern FIELD =
      Pattern.compile("\\{\\{|\\}\\}|\\{([^{}]*)\\}|[{}]");

  private final List<String> literals = new ArrayList<>();
  private final List<String> fields = new ArrayList<>();

  /** Reads a template. */
  public Template(String source) {
    StringBuilder literal = new StringBuilder();
    int position = 0;
    Matcher match = FIELD.matcher(source);
    while (match.find()) {
      literal.append(source, position, match.start());
      position = match.end();
      if (match.group().equals("{{") || match.group().equals("}}")) {
        literal.append(match.group().charAt(0));
      } else if (match.group(1) == null) {
        throw new IllegalArgumentException(
            "key: \"" + source + "\" has a brace without its other");
      } else {
        if (!match.group(1).matches("\\w+")) {
          throw new IllegalArgumentException(
              "key: {" + match.group(1) + "} is not the name of an argument");
        }
        literals.add(literal.toString());
        literal.setLength(0);
        fields.add(match.group(1));
      }
    }
    literals.add(literal + source.substring(position));
  }

  /** The arguments that the template names. */
  public Set<String> names() {
    return Set.copyOf(fields);
  }

  /**
   * A text, and the arguments that it does not show clearly.
   *
   * @param key the text
   * @param unclear arguments whose text other values have, too
   */
  public record Rendered(String key, Set<String> unclear) {}

  /** The text for these arguments. */
  public Rendered render(Map<String, Object> arguments) {
    StringBuilder key = new StringBuilder(literals.get(0));
    Set<String> unclear = new HashSet<>();
    List<String> inner =
        literals.size() < 3 ? List.of() : literals.subList(1, literals.size() - 1);
    String separators = String.join("", inner);
    for (int index = 0; index < fields.size(); index++) {
      String field = fields.get(index);
      if (!arguments.containsKey(field)) {
        throw new IllegalArgumentException(field + ": the template needs it");
      }
      Object value = arguments.get(field);
      String form = Canonical.text(value, field);
      String shown = form;
      boolean clear = true;
      String tagless = Canonical.tagless(form);
      if (tagless != null) {
        shown = tagless;
        clear = false;
      } else if (form.startsWith("\"")) {
        shown = Canonical.untext(form);
        clear = !LOOKS_TYPED.matcher(shown).matches();
      }
      // `a:b` is the text of two pairs for `{x}:{y}`, if values may have a colon.
      boolean split =
          !inner.isEmpty()
              && (inner.contains("")
                  || shown.chars().anyMatch(unit -> separators.indexOf(unit) >= 0));
      if (!clear || split) {
        unclear.add(field);
      }
      key.append(shown).append(literals.get(index + 1));
    }
    return new Rendered(key.toString(), unclear);
  }
}
