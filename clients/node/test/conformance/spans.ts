/** Spans of the program around calls. */
import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base';

trace.setGlobalTracerProvider(new BasicTracerProvider());
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(new W3CTraceContextPropagator());

/** Runs a call in a span. `begin` receives its trace id before. */
export function inSpan<T>(begin: (traceId: string) => void, call: () => Promise<T>): Promise<T> {
  return trace.getTracer('conformance').startActiveSpan('case', async (span) => {
    try {
      begin(span.spanContext().traceId);
      return await call();
    } finally {
      span.end();
    }
  });
}
