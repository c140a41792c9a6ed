package dev.larder.tests.conformance;

import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import io.opentelemetry.context.propagation.ContextPropagators;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.trace.ReadWriteSpan;
import io.opentelemetry.sdk.trace.ReadableSpan;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.SpanProcessor;
import java.util.Map;

/** Spans of the program around calls. */
final class Spans {
  private static final OpenTelemetrySdk SDK =
      OpenTelemetrySdk.builder()
          .setTracerProvider(SdkTracerProvider.builder().addSpanProcessor(new Ignoring()).build())
          .setPropagators(ContextPropagators.create(W3CTraceContextPropagator.getInstance()))
          .buildAndRegisterGlobal();

  private Spans() {}

  /** Without a processor the SDK makes no spans. */
  private static final class Ignoring implements SpanProcessor {
    @Override
    public void onStart(Context parent, ReadWriteSpan span) {}

    @Override
    public boolean isStartRequired() {
      return false;
    }

    @Override
    public void onEnd(ReadableSpan span) {}

    @Override
    public boolean isEndRequired() {
      return true;
    }
  }

  /** Makes a call, in a span if the step wants one; its name is bound to the trace id. */
  static <R> R in(
      Map<String, Object> step, Map<String, Object> bound, Loaders.Waiting<R> call)
      throws Exception {
    String name = (String) step.get("traced");
    if (name == null) {
      return call.call();
    }
    Span span = SDK.getTracer("conformance").spanBuilder("case").startSpan();
    try (Scope scope = span.makeCurrent()) {
      assert scope != null;
      bound.put(name, span.getSpanContext().getTraceId());
      return call.call();
    } finally {
      span.end();
    }
  }
}
