package dev.larder.client.internal;

import dev.larder.client.CallObserver;
import dev.larder.client.otel.OpenTelemetryObserver;

/** Finds the OpenTelemetry API, which is optional. */
final class Telemetry {
  private static final String API = "io.opentelemetry.api.GlobalOpenTelemetry";

  private Telemetry() {}

  /** An observer, if the API is in the process; else null. */
  static CallObserver find() {
    try {
      Class.forName(API, false, Telemetry.class.getClassLoader());
      return OpenTelemetryObserver.global();
    } catch (ClassNotFoundException | LinkageError absent) {
      return null;
    }
  }
}
