package dev.larder.tests.conformance;

import dev.larder.client.LarderClient;
import dev.larder.tests.conformance.Grammar.Mismatch;
import java.util.List;
import java.util.Map;

/** Steps that look at what has happened. */
final class Observations {
  private static final double WAIT_MS = 10_000;

  private final Place place;
  private final Map<String, Object> bound;
  private final Map<String, Loaders.Counted> loaders;
  private final Map<String, Watching> watches;
  private final LarderClient client;

  Observations(
      Place place,
      Map<String, Object> bound,
      Map<String, Loaders.Counted> loaders,
      Map<String, Watching> watches,
      LarderClient client) {
    this.place = place;
    this.bound = bound;
    this.loaders = loaders;
    this.watches = watches;
    this.client = client;
  }

  void check(Map<String, Object> step) throws InterruptedException {
    if (step.containsKey("loading")) {
      loading(Grammar.map(step.get("loading")));
    } else if (step.containsKey("loads")) {
      loads(step);
    } else if (step.containsKey("calls")) {
      calls(step);
    } else if (step.containsKey("watched")) {
      watched(step);
    } else if (step.containsKey("counters")) {
      Grammar.map(step.get("counters"))
          .forEach((name, number) -> Grammar.match(number, counter(name), name, bound));
    } else {
      throw new IllegalStateException("no step " + step);
    }
  }

  /** Sum of a counter over all namespaces. */
  private long counter(String name) {
    String plain = name.replace("larder.client.", "");
    return client.counters().values().stream().mapToLong(counts -> counts.get(plain)).sum();
  }

  private void loading(Map<String, Object> expected) throws InterruptedException {
    double deadline = System.nanoTime() / 1e6 + WAIT_MS;
    for (Map.Entry<String, Object> each : expected.entrySet()) {
      while (loaders.get(each.getKey()).begun.get() < ((Number) each.getValue()).intValue()) {
        if (System.nanoTime() / 1e6 > deadline) {
          throw new Mismatch(each.getKey() + " has not begun");
        }
        Thread.sleep(5);
      }
    }
  }

  private void loads(Map<String, Object> step) {
    Grammar.map(step.get("loads"))
        .forEach(
            (name, number) ->
                Grammar.match(number, loaders.get(name).begun.get(), "loads of " + name, bound));
    Grammar.map(step.get("loaded_keys"))
        .forEach(
            (name, keys) ->
                Grammar.match(keys, loaders.get(name).keys, "keys of " + name, bound));
  }

  private void calls(Map<String, Object> step) {
    Map<String, Object> expected = Grammar.map(step.get("calls"));
    Map<String, Object> arguments =
        expected.containsKey("method") ? Map.of("method", expected.get("method")) : Map.of();
    Map<String, Object> found = Grammar.map(place.command("calls", arguments));
    List<Object> calls = Grammar.list(found.get("calls"));
    Grammar.map(step.get("bind"))
        .forEach((name, field) -> bound.put(name, found.get((String) field)));
    if (expected.containsKey("count")) {
      Grammar.match(expected.get("count"), found.get("count"), "calls", bound);
    }
    if (expected.containsKey("first")) {
      int number =
          expected.containsKey("number") ? ((Number) expected.get("number")).intValue() : 0;
      if (calls.size() <= number) {
        throw new Mismatch("there are " + calls.size() + " calls");
      }
      Grammar.match(expected.get("first"), calls.get(number), "call", bound);
    }
    if (expected.containsKey("each")) {
      calls.forEach(call -> Grammar.match(expected.get("each"), call, "call", bound));
    }
  }

  private void watched(Map<String, Object> step) {
    Watching watching = watches.get((String) step.get("watched"));
    List<Map<String, Object>> events = watching.events;
    if (Boolean.TRUE.equals(step.get("ended")) && !watching.ended) {
      throw new Mismatch("the iterator goes on");
    }
    int at = 0;
    for (Object expected : Grammar.list(step.get("expect"))) {
      while (at < events.size() && !Grammar.fits(expected, events.get(at), bound)) {
        at++;
      }
      if (at == events.size()) {
        throw new Mismatch("no " + Grammar.shown(expected) + " in " + Grammar.shown(events));
      }
      at++;
    }
    Object never = step.get("never");
    if (never != null && events.stream().anyMatch(one -> Grammar.fits(never, one, bound))) {
      throw new Mismatch(Grammar.shown(never) + " is in " + Grammar.shown(events));
    }
  }
}
