package dev.larder.tests.conformance;

import dev.larder.client.LarderClient;
import java.util.List;
import java.util.Map;

/** The server under a case. */
interface Place extends AutoCloseable {
  /** A client that reaches the server. */
  LarderClient connect(LarderClient.Builder builder, String via, String target);

  /** Lets time pass. */
  void advance(double ms) throws InterruptedException;

  /** Connections since the begin of the case. */
  Map<String, Object> connections();

  /** Stops, starts, pauses or resumes the server. */
  void server(String state);

  /** A command of the control program. */
  Object command(String name, Map<String, ?> arguments);

  /** The server runs again. */
  @Override
  void close();

  /** The real server, with what the control program offers. */
  final class Real implements Place {
    static final List<String> FEATURES =
        List.of("server", "proxy", "gateway", "calls", "pass_on", "near_cache");

    private final Control control;
    private long accepted;

    /** Clears what a former case has left. */
    Real(Control control, List<Object> needs) {
      this.control = control;
      if (needs.contains("calls") || needs.contains("gateway") || needs.contains("proxy")) {
        control.clear();
        accepted = ((Number) all().get("accepted")).longValue();
      }
    }

    private Map<String, Object> all() {
      return Grammar.map(control.command("connections", Map.of()));
    }

    @Override
    public LarderClient connect(LarderClient.Builder builder, String via, String target) {
      String named = target == null ? "{" + via + "}" : target;
      for (Map.Entry<String, Object> address : control.addresses.entrySet()) {
        named = named.replace("{" + address.getKey() + "}", address.getValue().toString());
      }
      return builder.target(named).build();
    }

    @Override
    public void advance(double ms) throws InterruptedException {
      Thread.sleep((long) ms);
    }

    @Override
    public Map<String, Object> connections() {
      Map<String, Object> now = all();
      long since = ((Number) now.get("accepted")).longValue() - accepted;
      return Map.of("accepted", since, "open", now.get("open"));
    }

    @Override
    public void server(String state) {
      control.server(state);
    }

    @Override
    public Object command(String name, Map<String, ?> arguments) {
      return control.command(name, arguments);
    }

    @Override
    public void close() {
      control.restore();
    }
  }
}
