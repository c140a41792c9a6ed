package dev.larder.tests.conformance;

import dev.larder.client.Change;
import dev.larder.client.Namespace;
import dev.larder.client.Watch;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;

/** Events of a watch, collected beside the steps of a case. */
final class Watching {
  final List<Map<String, Object>> events = new CopyOnWriteArrayList<>();
  volatile boolean ended;
  private final Watch watch;

  Watching(Namespace<Object> namespace, boolean keys) {
    watch = namespace.watch(keys);
    Loaders.beside(
        () -> {
          for (Change change : watch) {
            events.add(Data.event(change));
          }
          ended = true;
          return null;
        });
  }

  void end() {
    watch.close();
  }
}
