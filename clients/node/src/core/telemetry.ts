import { COUNTER_NAMES, type Counters } from './counters.js';
import { LarderError } from './errors.js';
import { VERSION } from './version.js';

/** One call that is observed. */
export interface Observed {
  /** Headers that carry the trace context; undefined: none. */
  readonly headers: Record<string, string> | undefined;
  end(error: unknown): void;
}

/** Observes calls. */
export interface Telemetry {
  /** Undefined: nothing observes the call. */
  start(method: string, namespace: string): Observed | undefined;
  close(): void;
}

/*
 * OpenTelemetry keeps what an SDK has registered under a symbol, so that copies of its API that are
 * loaded by several packages, or bundled, find each other. It is read from there: this library has
 * no copy of its own that could be missing, or be another than that of the program.
 */
const API = Symbol.for('opentelemetry.js.api.1');
const SPAN_KEY = Symbol.for('OpenTelemetry Context Key SPAN');
const CLIENT_KIND = 2;
const ERROR_STATUS = 2;
const NAME = 'larder-cache';

interface Context {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): Context;
  deleteValue(key: symbol): Context;
}

interface Span {
  setAttribute(name: string, value: string): void;
  setStatus(status: { code: number; message?: string }): void;
  end(): void;
}

interface Api {
  trace?: { getTracer(name: string, version: string): {
    startSpan(name: string, options: object, context: Context): Span;
  } };
  metrics?: { getMeter(name: string, version: string): Meter };
  context?: { active(): Context };
  propagation?: { inject(context: Context, carrier: object, setter: object): void };
}

interface Meter {
  createHistogram(name: string, options: object): {
    record(value: number, attributes: object, context: Context): void;
  };
  createObservableCounter(name: string, options: object): {
    addCallback(callback: Observe): void;
    removeCallback(callback: Observe): void;
  };
}

type Observe = (result: { observe(value: number, attributes: object): void }) => void;

/** A context without a manager of contexts in the process. */
class PlainContext implements Context {
  constructor(private readonly values: ReadonlyMap<symbol, unknown> = new Map()) {}

  getValue(key: symbol): unknown {
    return this.values.get(key);
  }

  setValue(key: symbol, value: unknown): Context {
    return new PlainContext(new Map(this.values).set(key, value));
  }

  deleteValue(key: symbol): Context {
    const values = new Map(this.values);
    values.delete(key);
    return new PlainContext(values);
  }
}

const ROOT = new PlainContext();
const SETTER = {
  set(carrier: Record<string, string>, name: string, value: string): void {
    carrier[name.toLowerCase()] = value;
  },
};

/** Spans, W3C context and metrics, while an SDK of OpenTelemetry is registered. */
export class OpenTelemetry implements Telemetry {
  private meterProvider: unknown;
  private duration: ReturnType<Meter['createHistogram']> | undefined;
  private forget: (() => void)[] = [];

  constructor(private readonly counters: Counters) {}

  start(method: string, namespace: string): Observed | undefined {
    const api = (globalThis as Record<symbol, unknown>)[API] as Api | undefined;
    if (api === undefined || (api.trace ?? api.metrics) === undefined) return undefined;
    if (api.metrics !== undefined && api.metrics !== this.meterProvider) this.measure(api.metrics);
    const parent = api.context?.active() ?? ROOT;
    const rpc = `larder.v1.CacheService/${method}`;
    const attributes: Record<string, string> = {
      'rpc.system.name': 'grpc',
      'rpc.method': rpc,
      'larder.namespace': namespace,
    };
    const span = api.trace
      ?.getTracer(NAME, VERSION)
      .startSpan(rpc, { kind: CLIENT_KIND, attributes }, parent);
    const context = span === undefined ? parent : parent.setValue(SPAN_KEY, span);
    const headers: Record<string, string> = {};
    api.propagation?.inject(context, headers, SETTER);
    const started = performance.now();
    return {
      headers,
      end: (error) => {
        const code = error === undefined ? 'OK' : codeOf(error);
        span?.setAttribute('rpc.response.status_code', code);
        if (error !== undefined) {
          span?.setAttribute('error.type', code);
          const message = error instanceof Error ? error.message : String(error);
          span?.setStatus({ code: ERROR_STATUS, message });
        }
        span?.end();
        this.duration?.record(
          (performance.now() - started) / 1000,
          {
            'rpc.system.name': 'grpc',
            'rpc.method': rpc,
            'rpc.response.status_code': code,
          },
          context,
        );
      },
    };
  }

  private measure(provider: NonNullable<Api['metrics']>): void {
    this.close();
    this.meterProvider = provider;
    const meter = provider.getMeter(NAME, VERSION);
    this.duration = meter.createHistogram('rpc.client.call.duration', {
      description: 'Duration of a call, with its retries.',
      unit: 's',
      advice: {
        explicitBucketBoundaries: [
          0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
        ],
      },
    });
    for (const name of COUNTER_NAMES) {
      const counter = meter.createObservableCounter(`larder.client.${name}`, { unit: '{event}' });
      const observe: Observe = (result) => {
        this.counters.each((counted, namespace, value) => {
          if (counted === name && value > 0) result.observe(value, { namespace });
        });
      };
      counter.addCallback(observe);
      this.forget.push(() => counter.removeCallback(observe));
    }
  }

  /** Ends the observation of the counters. */
  close(): void {
    for (const forget of this.forget) forget();
    this.forget = [];
  }
}

function codeOf(error: unknown): string {
  return error instanceof LarderError ? error.code : 'CANCELLED';
}
