package dev.larder.client;

import dev.larder.client.internal.Canonical;
import dev.larder.client.internal.Template;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The key of a call of a function: clients/README.md, "Keys of function calls". Equal calls have
 * equal keys in all languages, if they give all arguments, also those with defaults.
 *
 * <pre>{@code
 * Key key = CallKey.of("user:{user_id}").arg("user_id", 7).arg("page", 2).key();
 * }</pre>
 */
public final class CallKey {
  private final Template template;
  private final Map<String, Object> arguments = new LinkedHashMap<>();

  private CallKey(String template) {
    this.template = new Template(template);
  }

  /**
   * A key of the name of a function, or of a template with arguments in braces. Arguments that a
   * template names are not params. <code>{{</code> and <code>}}</code> stand for braces.
   *
   * @throws IllegalArgumentException if it is not a template
   */
  public static CallKey of(String nameOrTemplate) {
    if (nameOrTemplate == null || nameOrTemplate.isEmpty()) {
      throw new IllegalArgumentException("key: must not be empty");
    }
    return new CallKey(nameOrTemplate);
  }

  /** An argument with its value, which may be null. */
  public CallKey arg(String name, Object value) {
    arguments.put(name, value);
    return this;
  }

  /**
   * The key with its params.
   *
   * @throws IllegalArgumentException that names the argument, if one cannot be part of a key
   */
  public Key key() {
    Template.Rendered rendered = template.render(arguments);
    Map<String, String> params = new LinkedHashMap<>();
    arguments.forEach(
        (name, value) -> {
          boolean shown = template.names().contains(name) && !rendered.unclear().contains(name);
          if (!shown) {
            params.put(name, Canonical.text(value, name));
          }
        });
    return new Key(rendered.key(), params);
  }
}
