package dev.larder.client.otel;

import dev.larder.client.CallObserver;
import dev.larder.client.LarderException;
import dev.larder.client.internal.Version;
import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.metrics.DoubleHistogram;
import io.opentelemetry.api.metrics.Meter;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.context.Context;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;

/**
 * Spans, W3C context and metrics of the calls, for OpenTelemetry. A client uses the global one by
 * itself, if the API is in the process.
 */
public final class OpenTelemetryObserver implements CallObserver {
  private static final String NAME = "dev.larder.client";
  private static final String SERVICE = "larder.v1.CacheService/";
  private static final AttributeKey<String> SYSTEM = AttributeKey.stringKey("rpc.system.name");
  private static final AttributeKey<String> METHOD = AttributeKey.stringKey("rpc.method");
  private static final AttributeKey<String> STATUS =
      AttributeKey.stringKey("rpc.response.status_code");
  private static final AttributeKey<String> ERROR = AttributeKey.stringKey("error.type");
  private static final AttributeKey<String> NAMESPACE =
      AttributeKey.stringKey("larder.namespace");
  private static final AttributeKey<String> COUNTED = AttributeKey.stringKey("namespace");
  private static final List<Double> BUCKETS =
      List.of(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1d, 2.5, 5d, 10d);

  private final ReentrantLock lock = new ReentrantLock();
  private final OpenTelemetry given;
  private final List<AutoCloseable> instruments = new CopyOnWriteArrayList<>();
  private volatile Supplier<Map<String, Map<String, Long>>> counters;
  private volatile OpenTelemetry measured;
  private volatile DoubleHistogram duration;

  private OpenTelemetryObserver(OpenTelemetry given) {
    this.given = given;
  }

  /** An observer for the OpenTelemetry that the process has, also one that is set later. */
  public static OpenTelemetryObserver global() {
    return new OpenTelemetryObserver(null);
  }

  /** An observer for an OpenTelemetry of the program. */
  public static OpenTelemetryObserver of(OpenTelemetry openTelemetry) {
    return new OpenTelemetryObserver(openTelemetry);
  }

  private OpenTelemetry api() {
    if (given != null) {
      return given;
    }
    // To ask for the global one before it is set would set one that does nothing.
    return GlobalOpenTelemetry.isSet() ? GlobalOpenTelemetry.get() : null;
  }

  @Override
  public Object current() {
    return Context.current();
  }

  @Override
  public Observed start(String method, String namespace, Object parent) {
    OpenTelemetry api = api();
    if (api == null) {
      return null;
    }
    measure(api);
    Context outer = parent instanceof Context context ? context : Context.current();
    String rpc = SERVICE + method;
    Span span =
        api.getTracer(NAME, Version.TEXT)
            .spanBuilder(rpc)
            .setParent(outer)
            .setSpanKind(SpanKind.CLIENT)
            .setAttribute(SYSTEM, "grpc")
            .setAttribute(METHOD, rpc)
            .setAttribute(NAMESPACE, namespace)
            .startSpan();
    Context inner = outer.with(span);
    Map<String, String> headers = new HashMap<>();
    api.getPropagators()
        .getTextMapPropagator()
        .inject(
            inner,
            headers,
            (carrier, name, value) -> carrier.put(name.toLowerCase(Locale.ROOT), value));
    return new Call(rpc, span, inner, headers);
  }

  private final class Call implements Observed {
    private final String rpc;
    private final Span span;
    private final Context context;
    private final Map<String, String> headers;
    private final long started = System.nanoTime();

    Call(String rpc, Span span, Context context, Map<String, String> headers) {
      this.rpc = rpc;
      this.span = span;
      this.context = context;
      this.headers = headers;
    }

    @Override
    public Map<String, String> headers() {
      return headers;
    }

    @Override
    public void end(Throwable error) {
      String code = error == null ? "OK" : codeOf(error);
      span.setAttribute(STATUS, code);
      if (error != null) {
        span.setAttribute(ERROR, code);
        span.setStatus(StatusCode.ERROR, String.valueOf(error.getMessage()));
      }
      span.end();
      duration.record(
          (System.nanoTime() - started) / 1e9,
          Attributes.of(SYSTEM, "grpc", METHOD, rpc, STATUS, code),
          context);
    }
  }

  private static String codeOf(Throwable error) {
    return error instanceof LarderException failure ? failure.code().name() : "CANCELLED";
  }

  @Override
  public void counters(Supplier<Map<String, Map<String, Long>>> counters) {
    this.counters = counters;
  }

  private void measure(OpenTelemetry api) {
    if (measured == api) {
      return;
    }
    lock.lock();
    try {
      if (measured == api) {
        return;
      }
      close();
      Meter meter = api.getMeter(NAME);
      duration =
          meter
              .histogramBuilder("rpc.client.call.duration")
              .setDescription("Duration of a call, with its retries.")
              .setUnit("s")
              .setExplicitBucketBoundariesAdvice(BUCKETS)
              .build();
      Supplier<Map<String, Map<String, Long>>> source = counters;
      if (source != null) {
        names(source).forEach(name -> count(meter, name, source));
      }
      measured = api;
    } finally {
      lock.unlock();
    }
  }

  private static Set<String> names(Supplier<Map<String, Map<String, Long>>> source) {
    return source.get().values().stream()
        .findFirst()
        .map(Map::keySet)
        .orElse(Set.of());
  }

  private void count(Meter meter, String name, Supplier<Map<String, Map<String, Long>>> source) {
    instruments.add(
        meter
            .counterBuilder("larder.client." + name)
            .setUnit("{event}")
            .buildWithCallback(
                result ->
                    source
                        .get()
                        .forEach(
                            (namespace, counts) -> {
                              if (counts.get(name) > 0) {
                                result.record(
                                    counts.get(name), Attributes.of(COUNTED, namespace));
                              }
                            })));
  }

  @Override
  public void close() {
    for (AutoCloseable instrument : instruments) {
      try {
        instrument.close();
      } catch (Exception error) {
        throw new IllegalStateException("an instrument cannot be closed", error);
      }
    }
    instruments.clear();
  }
}
