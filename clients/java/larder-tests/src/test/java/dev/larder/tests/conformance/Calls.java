package dev.larder.tests.conformance;

import dev.larder.client.AsyncNamespace;
import dev.larder.client.Change;
import dev.larder.client.DeleteOptions;
import dev.larder.client.FetchOptions;
import dev.larder.client.IncrementOptions;
import dev.larder.client.Key;
import dev.larder.client.ListOptions;
import dev.larder.client.ListedKey;
import dev.larder.client.Namespace;
import dev.larder.client.Patch;
import dev.larder.client.PatchOptions;
import dev.larder.client.ReadOptions;
import dev.larder.client.Targets;
import dev.larder.client.Ttl;
import dev.larder.client.Watch;
import dev.larder.client.WriteOptions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;

/** The operations of the cases as calls of the client, blocking and with futures. */
final class Calls {
  private final Map<String, Object> args;

  private Calls(Map<String, Object> args) {
    this.args = args;
  }

  static Duration ttl(Object text) {
    if (text == null) {
      return null;
    }
    if (text.equals("forever")) {
      return Ttl.FOREVER;
    }
    Duration duration = Grammar.duration(text);
    if (duration == null) {
      throw new IllegalArgumentException("ttl: not a duration: " + text);
    }
    return duration;
  }

  private Duration duration(String name) {
    return Grammar.duration(args.get(name));
  }

  private boolean flag(String name) {
    return Boolean.TRUE.equals(args.get(name));
  }

  private String[] texts(String name) {
    return Grammar.list(args.get(name)).toArray(String[]::new);
  }

  private Key key() {
    @SuppressWarnings({"unchecked", "rawtypes"})
    Map<String, String> params = (Map) Grammar.map(args.get("params"));
    return new Key((String) args.get("key"), params);
  }

  private List<String> keys() {
    return List.of(texts("keys"));
  }

  private ReadOptions read() {
    return new ReadOptions(
        duration("max_stale"), flag("consistent"), duration("touch"), null);
  }

  private WriteOptions write() {
    WriteOptions options =
        WriteOptions.DEFAULTS.ttl(ttl(args.get("ttl"))).tags(texts("tags"));
    if (flag("if_absent")) {
      options = options.ifAbsent();
    }
    if (flag("if_present")) {
      options = options.ifPresent();
    }
    if (args.containsKey("if_version")) {
      options = options.ifVersion((String) args.get("if_version"));
    }
    return options;
  }

  private FetchOptions fetch() {
    return new FetchOptions(
        ttl(args.get("ttl")),
        List.of(texts("tags")),
        duration("timeout"),
        flag("refresh"),
        ReadOptions.DEFAULTS);
  }

  private DeleteOptions delete() {
    return new DeleteOptions(
        (String) args.get("if_version"), duration("hold_off"), flag("return_value"), null);
  }

  private long number(String name, long other) {
    return args.containsKey(name) ? ((Number) args.get(name)).longValue() : other;
  }

  private IncrementOptions increment() {
    return new IncrementOptions(
        number("initial", 0), ttl(args.get("ttl")), flag("if_present"), null);
  }

  private Patch patch() {
    return args.containsKey("merge")
        ? Patch.merge(args.get("merge"))
        : Patch.operations(args.get("json_patch"));
  }

  private PatchOptions patchOptions() {
    return new PatchOptions(
        (String) args.get("if_version"), ttl(args.get("ttl")), flag("keep_ttl"), null);
  }

  private Targets targets() {
    return Targets.tags(texts("tags"))
        .and(Targets.globs(texts("globs")))
        .and(Targets.keys(texts("keys")));
  }

  private ListOptions list() {
    String glob = (String) args.getOrDefault("glob", "");
    return new ListOptions(glob, (int) number("page_size", 0), null);
  }

  @SuppressWarnings({"unchecked", "rawtypes"})
  private Map<String, String> attributes() {
    return (Map) Grammar.map(args.get("attributes"));
  }

  /** Makes a call that waits. */
  static Object blocking(Namespace<Object> on, String operation, Map<String, Object> args)
      throws Exception {
    Calls call = new Calls(args);
    Loaders.Counted loader = (Loaders.Counted) args.get("loader");
    return switch (operation) {
      case "get" -> on.get(call.key(), call.read());
      case "get_and_change" -> call.change(on.get(call.key()));
      case "set" -> on.set(call.key(), args.get("value"), call.write());
      case "delete" -> on.delete(call.key(), call.delete());
      case "get_many" -> on.getMany(call.keys(), call.read());
      case "set_many" -> on.setMany(Grammar.map(args.get("items")), call.write());
      case "delete_many" -> on.deleteMany(call.keys(), call.delete());
      case "contains" -> on.has(call.key(), call.read());
      case "touch" -> on.touch(call.key(), ttl(args.get("ttl")));
      case "increment" -> on.increment(call.key(), call.number("delta", 1), call.increment());
      case "patch" -> on.patch(call.key(), call.patch(), call.patchOptions());
      case "get_or_fetch" ->
          loader == null
              ? on.getOrFetch(call.key(), call.fetch())
              : on.getOrFetch(call.key(), loader::one, call.fetch());
      case "get_or_fetch_many" ->
          loader == null
              ? on.getOrFetchMany(call.keys(), call.fetch())
              : on.getOrFetchMany(call.keys(), loader::many, call.fetch());
      case "invalidate" -> on.invalidate(call.targets(), call.duration("hold_off"));
      case "invalidate_namespace" -> on.invalidateNamespace();
      case "publish_event" -> on.publishEvent((String) args.get("name"), call.attributes());
      case "list_keys" -> {
        TreeSet<String> keys = new TreeSet<>();
        on.listKeys(call.list()).forEach(each -> keys.add(each.key()));
        yield Map.of("sorted", new ArrayList<>(keys));
      }
      case "count_keys" -> on.countKeys(call.list());
      case "watch" -> {
        try (Watch watch = on.watch(call.flag("keys"))) {
          Change first = watch.next();
          yield Map.of("first", first.toString());
        }
      }
      case "stats" -> Map.of("counted", on.stats().isPresent());
      default -> throw new IllegalStateException("no operation " + operation);
    };
  }

  /** Makes a call with a future. */
  static CompletableFuture<?> async(
      Namespace<Object> namespace, String operation, Map<String, Object> args) {
    AsyncNamespace<Object> on = namespace.async();
    Calls call = new Calls(args);
    Loaders.Counted loader = (Loaders.Counted) args.get("loader");
    return switch (operation) {
      case "get" -> on.get(call.key(), call.read());
      case "get_and_change" -> on.get(call.key()).thenApply(call::change);
      case "set" -> on.set(call.key(), args.get("value"), call.write());
      case "delete" -> on.delete(call.key(), call.delete());
      case "get_many" -> on.getMany(call.keys(), call.read());
      case "set_many" -> on.setMany(Grammar.map(args.get("items")), call.write());
      case "delete_many" -> on.deleteMany(call.keys(), call.delete());
      case "contains" -> on.has(call.key(), call.read());
      case "touch" -> on.touch(call.key(), ttl(args.get("ttl")));
      case "increment" -> on.increment(call.key(), call.number("delta", 1), call.increment());
      case "patch" -> on.patch(call.key(), call.patch(), call.patchOptions());
      case "get_or_fetch" ->
          loader == null
              ? on.getOrFetch(call.key(), call.fetch())
              : on.getOrFetch(
                  call.key(),
                  context -> Loaders.beside(() -> loader.one(context)),
                  call.fetch());
      case "get_or_fetch_many" ->
          loader == null
              ? on.getOrFetchMany(call.keys(), call.fetch())
              : on.getOrFetchMany(
                  call.keys(),
                  (keys, context) -> Loaders.beside(() -> loader.many(keys, context)),
                  call.fetch());
      case "invalidate" -> on.invalidate(call.targets(), call.duration("hold_off"));
      case "invalidate_namespace" -> on.invalidateNamespace();
      case "publish_event" -> on.publishEvent((String) args.get("name"), call.attributes());
      case "list_keys" ->
          pages(on, call.list(), "", new TreeSet<>())
              .thenApply(keys -> Map.of("sorted", new ArrayList<>(keys)));
      case "count_keys" -> on.countKeys(call.list());
      case "stats" -> on.stats().thenApply(stats -> Map.of("counted", stats.isPresent()));
      case "watch" -> Loaders.beside(() -> blocking(namespace, operation, args));
      default -> throw new IllegalStateException("no operation " + operation);
    };
  }

  private static CompletableFuture<TreeSet<String>> pages(
      AsyncNamespace<Object> on, ListOptions options, String token, TreeSet<String> keys) {
    return on.listKeys(options, token)
        .thenCompose(
            page -> {
              page.keys().stream().map(ListedKey::key).forEach(keys::add);
              return page.next().isEmpty()
                  ? CompletableFuture.completedFuture(keys)
                  : pages(on, options, page.next(), keys);
            });
  }

  /** Changes a list of a value in place. */
  private <R extends dev.larder.client.Result<Object>> R change(R result) {
    Grammar.list(Grammar.map(result.value()).get((String) args.get("path")))
        .add(args.get("value"));
    return result;
  }
}
