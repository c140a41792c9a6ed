import { context, metrics, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterAll, expect, test } from 'vitest';
import { Client } from '../src/index.js';
import type { Transport } from '../src/transport/transport.js';
import { fresh, useServer } from './support.js';

const used = useServer();
const spans = new InMemorySpanExporter();
const measured = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const reader = new PeriodicExportingMetricReader({
  exporter: measured, exportIntervalMillis: 3_600_000,
});
const meters = new MeterProvider({ readers: [reader] });

afterAll(async () => {
  await meters.shutdown();
  for (const api of [trace, metrics, context, propagation]) api.disable();
});

test('without an SDK nothing is observed', async () => {
  await used.client.namespace(fresh()).set('k', 1);
  expect(spans.getFinishedSpans()).toEqual([]);
});

test('spans, context and metrics', async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }),
  );
  metrics.setGlobalMeterProvider(meters);
  const cache = used.client.namespace(fresh());
  await trace.getTracer('test').startActiveSpan('parent', async (parent) => {
    await cache.set('k', 1);
    await cache.get('k');
    await cache.get('none');
    await cache.increment('text', 1).then(() => cache.set('text', 'x'));
    await cache.increment('text', 1).catch(() => {});
    parent.end();
  });
  const finished = spans.getFinishedSpans();
  const parent = finished.find(({ name }) => name === 'parent')!;
  const calls = finished.filter(({ name }) => name !== 'parent');
  expect(calls.map(({ name }) => name)).toEqual(
    ['Set', 'Get', 'Get', 'Increment', 'Set', 'Increment'].map(
      (name) => `larder.v1.CacheService/${name}`,
    ),
  );
  for (const call of calls) {
    expect(call.spanContext().traceId).toBe(parent.spanContext().traceId);
    expect(call.attributes['larder.namespace']).toBe(cache.wireName);
  }
  expect(calls[5]!.attributes['rpc.response.status_code']).toBe('FAILED_PRECONDITION');
  expect(calls[5]!.status.code).toBe(2);

  await meters.forceFlush();
  const all = measured.getMetrics().at(-1)!.scopeMetrics.flatMap(({ metrics: each }) => each);
  const byName = new Map(all.map((metric) => [metric.descriptor.name, metric]));
  const hits = byName.get('larder.client.hits')!.dataPoints;
  expect(hits.find(({ attributes }) => attributes.namespace === cache.wireName)?.value).toBe(1);
  expect(byName.get('larder.client.misses')!.dataPoints.length).toBeGreaterThan(0);
  expect(byName.get('rpc.client.call.duration')!.descriptor.unit).toBe('s');
  expect(byName.get('rpc.client.call.duration')!.dataPoints.length).toBeGreaterThan(2);
});

test('the context is sent, and telemetry can be switched off', async () => {
  const seen: (Readonly<Record<string, string>> | undefined)[] = [];
  const transport: Transport = {
    renewsToken: false,
    async unary(_method, _request, attempt) {
      seen.push(attempt.headers);
      return { outcome: 3 } as never;
    },
    stream() { throw new Error('not used'); },
    feed() { throw new Error('not used'); },
    async connect() {},
    close() {},
  };
  await new Client({ transport }).namespace('n').get('k');
  expect(seen[0]!.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  await new Client({ transport, telemetry: false }).namespace('n').get('k');
  expect(seen[1]).toBeUndefined();
});
