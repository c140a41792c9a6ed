const NAMES = [
  'hits', 'misses', 'stale', 'negatives', 'near_hits', 'loads', 'load_errors', 'joined',
  'fail_open', 'fills_refused', 'undecodable', 'errors', 'retries',
] as const;

/** Name of a counter: `larder.client.<name>` in OpenTelemetry. */
export type CounterName = (typeof NAMES)[number];

/** Events in one namespace since the client was made. */
export type Counts = Record<CounterName, number>;

/** Namespaces that are counted by themselves; those beyond are counted under `_other`. */
const MAX_NAMESPACES = 1000;

/** The counters of a client, by namespace. */
export class Counters {
  private readonly namespaces = new Map<string, Counts>();

  /** The counters of a namespace, to be changed in place. */
  of(namespace: string): Counts {
    const name =
      this.namespaces.has(namespace) || this.namespaces.size < MAX_NAMESPACES
        ? namespace
        : '_other';
    let counts = this.namespaces.get(name);
    if (counts === undefined) {
      counts = Object.fromEntries(NAMES.map((counter) => [counter, 0])) as Counts;
      this.namespaces.set(name, counts);
    }
    return counts;
  }

  /** A copy of all counters. */
  snapshot(): Record<string, Counts> {
    const copy: Record<string, Counts> = {};
    for (const [namespace, counts] of this.namespaces) copy[namespace] = { ...counts };
    return copy;
  }

  /** Calls `observe` for each namespace and counter. */
  each(observe: (name: CounterName, namespace: string, value: number) => void): void {
    for (const [namespace, counts] of this.namespaces) {
      for (const name of NAMES) observe(name, namespace, counts[name]);
    }
  }
}

export { NAMES as COUNTER_NAMES };
