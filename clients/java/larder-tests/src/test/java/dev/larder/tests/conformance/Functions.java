package dev.larder.tests.conformance;

import dev.larder.client.CallKey;
import dev.larder.client.Key;
import dev.larder.client.Namespace;
import dev.larder.client.Result;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The functions of the cases about the keys of calls, with the times that each has run. */
final class Functions {
  private static final Map<String, List<String>> ARGUMENTS =
      Map.of(
          "f", List.of("a", "b", "c"),
          "v", List.of("value"),
          "user", List.of("user_id", "page"),
          "g", List.of("a"));

  private final Map<String, Integer> runs = new HashMap<>();
  private final Namespace<Object> namespace;

  Functions(Namespace<Object> namespace) {
    this.namespace = namespace;
  }

  /** Calls a function. Java has no arguments by name: they are put in their places. */
  Map<String, Object> call(Map<String, Object> args) {
    String name = (String) args.get("function");
    Map<String, Object> arguments = new LinkedHashMap<>();
    if (name.equals("f")) {
      arguments.put("b", 2);
    } else if (name.equals("user")) {
      arguments.put("page", 1);
    }
    List<Object> positional = Grammar.list(args.get("positional"));
    // Further arguments, such as a connection, are not given to the key.
    for (int at = 0; at < ARGUMENTS.get(name).size() && at < positional.size(); at++) {
      arguments.put(ARGUMENTS.get(name).get(at), positional.get(at));
    }
    arguments.putAll(Grammar.map(args.get("named")));
    CallKey key = CallKey.of(name.equals("user") ? "user:{user_id}" : name);
    arguments.forEach(key::arg);
    Key whole = key.key();
    Result<Object> result =
        namespace.getOrFetch(
            whole,
            context -> {
              runs.merge(name, 1, Integer::sum);
              return name.equals("f") ? arguments : null;
            },
            dev.larder.client.FetchOptions.DEFAULTS);
    Map<String, Object> answer = new HashMap<>();
    answer.put("value", result.value());
    answer.put("runs", runs.getOrDefault(name, 0));
    return answer;
  }
}
