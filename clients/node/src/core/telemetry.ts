/** One call that is observed. */
export interface Observed {
  /** Headers that carry the trace context. */
  headers: Record<string, string> | undefined;
  end(error: unknown): void;
}

/** Observes calls. */
export interface Telemetry {
  start(method: string, namespace: string): Observed | undefined;
}
