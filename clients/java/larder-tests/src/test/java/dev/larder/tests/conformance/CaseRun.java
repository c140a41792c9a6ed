package dev.larder.tests.conformance;

import dev.larder.client.CancelledException;
import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.Namespace;
import dev.larder.client.NamespaceOptions;
import dev.larder.client.OnError;
import dev.larder.client.Preset;
import dev.larder.tests.conformance.Grammar.Mismatch;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** One case on one kind of server, with one of the interfaces of the client. */
final class CaseRun {
  private static final double WAIT_MS = 10_000;
  private static final long PAUSE_MS = 20;
  private static final double STEP_MS = 60_000;

  private final Map<String, Object> test;
  private final Place place;
  private final boolean async;
  private final String id;
  private final Map<String, Object> bound = new ConcurrentHashMap<>();
  private final Map<String, LarderClient> clients = new LinkedHashMap<>();
  private final Map<String, Namespace<Object>> handles = new HashMap<>();
  private final Map<String, Task> tasks = new HashMap<>();
  private final Map<String, Watching> watches = new HashMap<>();
  private final Map<String, Functions> functions = new HashMap<>();
  private final Map<String, CountDownLatch> gates = new HashMap<>();
  private final Map<String, Loaders.Counted> loaders = new HashMap<>();

  CaseRun(Map<String, Object> test, Place place, boolean async) {
    this.test = test;
    this.place = place;
    this.async = async;
    this.id = (String) test.get("id");
    Grammar.map(test.get("loaders"))
        .forEach(
            (name, spec) -> {
              String gate = (String) Grammar.map(spec).get("gate");
              CountDownLatch latch =
                  gate == null ? null : gates.computeIfAbsent(gate, g -> new CountDownLatch(1));
              loaders.put(name, new Loaders.Counted(Grammar.map(spec), latch));
            });
  }

  /** A call that runs, and how to cancel it. */
  private record Task(CompletableFuture<Object> result, Runnable cancel) {}

  /** Runs all steps. Throws with the step that is not as expected. */
  void run() throws Exception {
    try {
      openHandles();
      int number = 0;
      for (Object step : Grammar.list(test.get("steps"))) {
        number++;
        try {
          step(Grammar.map(step));
        } catch (Exception | AssertionError error) {
          String where = id + ": step " + number + ": " + Grammar.shown(step);
          throw new AssertionError(error + "\n" + where, error);
        }
      }
    } finally {
      gates.values().forEach(CountDownLatch::countDown);
      tasks.values().forEach(task -> task.cancel().run());
      place.close();
      clients.values().forEach(LarderClient::close);
      watches.values().forEach(Watching::end);
    }
  }

  private void openHandles() {
    Map<String, Object> named = Grammar.map(test.get("clients"));
    if (named.isEmpty()) {
      named = Map.of("a", Map.of());
    }
    named.forEach((name, options) -> clients.put(name, newClient(Grammar.map(options))));
    // A name that is refused: the error is that of the step that uses the handle.
    if (!"".equals(test.get("namespace"))) {
      named.keySet().forEach(name -> newHandle(name, Map.of()));
      Grammar.map(test.get("handles"))
          .forEach((name, settings) -> newHandle(name, Grammar.map(settings)));
    }
  }

  private LarderClient newClient(Map<String, Object> given) {
    Map<String, Object> options = Grammar.map(Grammar.expand(given, bound));
    LarderClient.Builder builder =
        LarderClient.builder().preset(Preset.LOCAL).logger(null);
    options.forEach(
        (name, value) -> {
          switch (name) {
            case "on_error" -> builder.onError(OnError.of((String) value));
            case "call_timeout" -> builder.callTimeout(Grammar.duration(value));
            case "connect_timeout" -> builder.connectTimeout(Grammar.duration(value));
            case "preset" -> builder.preset(Preset.of((String) value));
            case "token" -> builder.token((String) value);
            case "schema_version" -> builder.schemaVersion((String) value);
            case "namespace_prefix" -> builder.namespacePrefix((String) value);
            case "target" -> builder.target((String) value);
            default -> throw new IllegalStateException("no option " + name);
          }
        });
    String via = (String) test.getOrDefault("via", "server");
    return place.connect(builder, via, (String) options.get("target"));
  }

  private Namespace<Object> newHandle(String name, Map<String, Object> settings) {
    NamespaceOptions options = NamespaceOptions.DEFAULTS;
    if (settings.containsKey("ttl")) {
      options = options.ttl(Calls.ttl(settings.get("ttl")));
    }
    if (settings.containsKey("tags")) {
      options = options.tags(Grammar.list(settings.get("tags")).toArray(String[]::new));
    }
    if (settings.containsKey("on_error")) {
      options = options.onError(OnError.of((String) settings.get("on_error")));
    }
    if (Boolean.TRUE.equals(settings.get("near_cache"))) {
      options = options.withNearCache();
    }
    String owner = (String) settings.getOrDefault("client", clients.containsKey(name) ? name : "a");
    Object standard = test.getOrDefault("namespace", id.replace('/', '-'));
    Object namespace = Grammar.expand(settings.getOrDefault("namespace", standard), bound);
    Namespace<Object> made =
        clients.get(owner).namespace((String) namespace, Object.class, options);
    handles.put(name, made);
    return made;
  }

  private void step(Map<String, Object> step) throws Exception {
    if (step.containsKey("for_each")) {
      Map<String, Object> plain = new LinkedHashMap<>(step);
      Object items = Grammar.expand(plain.remove("for_each"), bound);
      for (Object item : Grammar.list(items)) {
        bound.put("$each", item);
        step(plain);
      }
      return;
    }
    String task = (String) step.get("as");
    if (task != null && "watch".equals(step.get("do"))) {
      boolean keys = Boolean.TRUE.equals(Grammar.map(step.get("args")).get("keys"));
      Namespace<Object> handle = handles.get((String) step.getOrDefault("handle", "a"));
      watches.put(task, new Watching(handle, keys));
      return;
    }
    if (task != null) {
      tasks.put(task, start(step));
      Thread.sleep(PAUSE_MS);
      return;
    }
    Object until = step.get("wait_until");
    Double given = Grammar.milliseconds(until);
    double limit = Boolean.TRUE.equals(until) ? WAIT_MS : given == null ? 0 : given;
    double deadline = now() + limit;
    while (true) {
      try {
        once(step);
        return;
      } catch (Mismatch | LarderException error) {
        if (now() >= deadline) {
          throw error;
        }
      }
      Thread.sleep(PAUSE_MS);
    }
  }

  private static double now() {
    return System.nanoTime() / 1e6;
  }

  private void once(Map<String, Object> step) throws Exception {
    double begun = now();
    if (step.containsKey("do")) {
      check(step, start(step).result());
    } else if (step.containsKey("join")) {
      check(step, tasks.get((String) step.get("join")).result());
    } else {
      control(step);
    }
    double took = now() - begun;
    Double least = Grammar.milliseconds(step.get("at_least"));
    Double most = Grammar.milliseconds(step.get("within"));
    if (least != null && took < least || took > (most == null ? STEP_MS : most)) {
      throw new Mismatch("it took " + took + " ms");
    }
  }

  private void check(Map<String, Object> step, CompletableFuture<Object> result)
      throws Exception {
    Object data;
    try {
      data = result.get((long) STEP_MS, TimeUnit.MILLISECONDS);
    } catch (ExecutionException | CancellationException error) {
      Throwable cause = error;
      while (cause instanceof ExecutionException || cause instanceof CompletionException) {
        cause = cause.getCause();
      }
      if (!step.containsKey("raises")) {
        throw cause instanceof Exception exception ? exception : error;
      }
      checkError(Grammar.map(step.get("raises")), cause);
      return;
    } catch (TimeoutException error) {
      throw new Mismatch("the step does not end");
    }
    if (step.containsKey("raises")) {
      throw new Mismatch("nothing was thrown: " + Grammar.shown(data));
    }
    if (step.containsKey("expect")) {
      Grammar.matchStep(Grammar.map(step.get("expect")), data, bound);
    }
    Grammar.map(step.get("bind"))
        .forEach((name, field) -> bound.put(name, Grammar.map(data).get((String) field)));
  }

  private void checkError(Map<String, Object> expected, Throwable error) {
    boolean fits;
    if (Boolean.TRUE.equals(expected.get("cancelled"))) {
      fits =
          error instanceof CancelledException
              || error instanceof CancellationException
              || error instanceof InterruptedException;
    } else if (Boolean.TRUE.equals(expected.get("loader"))) {
      fits = error instanceof Loaders.LoaderFailed;
    } else {
      fits = error instanceof LarderException || error instanceof IllegalArgumentException;
    }
    if (!fits) {
      throw new AssertionError("another error: " + error, error);
    }
    Map<String, Object> data = Data.error(error);
    if (!plain(data.get("message")).contains(plain(expected.get("message")))) {
      throw new Mismatch("the message is " + data.get("message"));
    }
    for (String name : List.of("class", "code", "reason", "retry_after")) {
      if (expected.containsKey(name)) {
        Grammar.match(expected.get(name), data.get(name), "error." + name, bound);
      }
    }
  }

  private static String plain(Object text) {
    return text == null ? "" : text.toString().toLowerCase(Locale.ROOT).replace("_", "");
  }

  private Task start(Map<String, Object> step) {
    int copies = step.containsKey("copies") ? ((Number) step.get("copies")).intValue() : 0;
    if (copies == 0) {
      return oneCall(step);
    }
    List<Task> all = new ArrayList<>();
    for (int copy = 0; copy < copies; copy++) {
      all.add(oneCall(step));
    }
    CompletableFuture<Object> results =
        CompletableFuture.allOf(
                all.stream().map(Task::result).toArray(CompletableFuture<?>[]::new))
            .thenApply(ignored -> all.stream().map(each -> each.result().join()).toList());
    return new Task(results, () -> all.forEach(each -> each.cancel().run()));
  }

  private Task oneCall(Map<String, Object> step) {
    if (async && isAsync(step)) {
      try {
        CompletableFuture<?> call = Spans.in(step, bound, () -> asyncCall(step));
        return new Task(call.thenApply(Data::of), () -> call.cancel(true));
      } catch (Exception error) {
        return new Task(CompletableFuture.failedFuture(error), () -> {});
      }
    }
    CompletableFuture<Object> done = new CompletableFuture<>();
    CountDownLatch begun = new CountDownLatch(1);
    Thread thread =
        new Thread(
            () -> {
              begun.countDown();
              try {
                done.complete(Data.of(Spans.in(step, bound, () -> blockingCall(step))));
              } catch (Throwable error) {
                done.completeExceptionally(error);
              }
            },
            "call");
    thread.setDaemon(true);
    thread.start();
    try {
      // On a busy machine a thread may begin late, and the case would go on without it.
      begun.await();
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
    return new Task(done, thread::interrupt);
  }

  private static boolean isAsync(Map<String, Object> step) {
    return !List.of("connect", "close", "new_client", "call").contains(step.get("do"));
  }

  private Map<String, Object> arguments(Map<String, Object> step) {
    Map<String, Object> args =
        new HashMap<>(Grammar.map(Grammar.expand(Grammar.map(step.get("args")), bound)));
    if (args.containsKey("loader")) {
      args.put("loader", loaders.get((String) args.get("loader")));
    }
    return args;
  }

  private Namespace<Object> handle(Map<String, Object> step) {
    String name = (String) step.getOrDefault("handle", "a");
    Namespace<Object> open = handles.get(name);
    return open != null ? open : newHandle(name, Map.of());
  }

  private CompletableFuture<?> asyncCall(Map<String, Object> step) {
    return Calls.async(handle(step), (String) step.get("do"), arguments(step));
  }

  private Object blockingCall(Map<String, Object> step) throws Exception {
    String operation = (String) step.get("do");
    String name = (String) step.getOrDefault("handle", "a");
    switch (operation) {
      case "connect" -> {
        clients.get(name).connect();
        return Map.of("ok", true);
      }
      case "close" -> {
        clients.get(name).close();
        return Map.of("ok", true);
      }
      case "new_client" -> {
        newClient(arguments(step)).close();
        return Map.of("ok", true);
      }
      case "call" -> {
        Namespace<Object> on = handle(step);
        return functions.computeIfAbsent(name, n -> new Functions(on)).call(arguments(step));
      }
      default -> {
        return Calls.blocking(handle(step), operation, arguments(step));
      }
    }
  }

  private void control(Map<String, Object> step) throws InterruptedException {
    if (step.containsKey("cancel")) {
      tasks.get((String) step.get("cancel")).cancel().run();
    } else if (step.containsKey("open")) {
      gates.get((String) step.get("open")).countDown();
    } else if (step.containsKey("advance")) {
      double ms = Grammar.milliseconds(step.get("advance"));
      if (Boolean.TRUE.equals(step.get("real"))) {
        Thread.sleep((long) ms);
      } else {
        place.advance(ms);
      }
    } else if (step.containsKey("server")) {
      place.server((String) step.get("server"));
    } else if (step.containsKey("fault")) {
      Double delay = Grammar.milliseconds(step.get("delay"));
      place.command(
          "fault",
          Map.of("kind", step.get("fault"), "delay", delay == null ? 0 : delay.longValue()));
    } else if (step.containsKey("script")) {
      place.command("script", Map.of("rules", step.get("script")));
    } else if (step.containsKey("connections")) {
      Grammar.match(step.get("connections"), place.connections(), "connections", bound);
    } else {
      new Observations(place, bound, loaders, watches, clients.get("a")).check(step);
    }
  }
}
