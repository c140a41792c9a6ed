package dev.larder.spring.boot;

import dev.larder.client.Key;
import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.LarderException.Code;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.OnError;
import dev.larder.client.ReadOptions;
import dev.larder.client.Result;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** A read from the store: whether the cache and its store answer. */
final class LarderHealth {
  /** The namespace and the key, which nothing writes. */
  private static final String NAME = "larder-health";

  /** The server answers, and does not let this client read that namespace. */
  private static final Set<Code> REFUSALS = EnumSet.of(Code.PERMISSION_DENIED, Code.NOT_FOUND);

  private final Namespace<Object> namespace;

  LarderHealth(LarderClient client) {
    namespace =
        client.namespace(
            NAME, Object.class, NamespaceOptions.DEFAULTS.onError(OnError.RAISE));
  }

  /**
   * The state of the cache.
   *
   * @param up whether the cache answers, and its store, too
   * @param details for people
   * @param error why it does not answer; null: it does
   */
  record State(boolean up, Map<String, Object> details, LarderException error) {}

  State check() {
    Map<String, Object> details = new LinkedHashMap<>();
    try {
      Result<Object> result =
          namespace.get(Key.of(NAME), ReadOptions.DEFAULTS.consistent(true));
      details.put("store", result.degraded() ? "away" : "up");
      return new State(!result.degraded(), details, null);
    } catch (LarderException error) {
      details.put("code", error.code().name());
      if (!error.reason().isEmpty()) {
        details.put("reason", error.reason());
      }
      boolean answers = REFUSALS.contains(error.code());
      return new State(answers, details, answers ? null : error);
    }
  }
}
