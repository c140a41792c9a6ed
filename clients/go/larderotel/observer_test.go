package larderotel_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	larder "larder.test/clients/go"
	"larder.test/clients/go/internal/conformance"
	"larder.test/clients/go/larderotel"
	"larder.test/clients/go/lardertest"
)

// TestTracingCases runs the conformance cases that need OpenTelemetry.
func TestTracingCases(t *testing.T) {
	suite, err := conformance.Load()
	if err != nil {
		t.Fatal(err)
	}
	if missing := conformance.Missing(); len(missing) > 0 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("not built: %v", missing)
		}
		t.Skipf("not built: %v", missing)
	}
	control, err := conformance.StartControl("memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Close)
	provider := trace.NewTracerProvider()
	observer, err := larderotel.New(larderotel.WithTracerProvider(provider))
	if err != nil {
		t.Fatal(err)
	}
	traced := func(ctx context.Context) (context.Context, string, func()) {
		ctx, span := provider.Tracer("conformance").Start(ctx, "case")
		return ctx, span.SpanContext().TraceID().String(), func() { span.End() }
	}
	count := 0
	for i := range suite.Cases {
		test := &suite.Cases[i]
		if !slices.Contains(test.Needs, "tracing") {
			continue
		}
		count++
		t.Run(test.ID, func(t *testing.T) {
			server, err := conformance.NewRealServer(control, test.Needs)
			if err != nil {
				t.Fatal(err)
			}
			run := conformance.NewRun(test, server, traced, larder.WithObserver(observer))
			if err := run.Run(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if count == 0 {
		t.Fatal("there are no such cases")
	}
}

func TestSpansAndMetrics(t *testing.T) {
	spans, reader := tracetest.NewSpanRecorder(), metric.NewManualReader()
	observer, err := larderotel.New(
		larderotel.WithTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans))),
		larderotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	if err != nil {
		t.Fatal(err)
	}
	fake, client := lardertest.Start(t, lardertest.Config{}, larder.WithObserver(observer))
	users, err := larder.For[string](client, "users")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	load := func(context.Context) (string, error) { return "v", nil }
	for range 2 {
		if _, err := users.GetOrFetch(ctx, "k", load); err != nil {
			t.Fatal(err)
		}
	}
	fake.Fail(lardertest.Failure{Methods: []string{"Delete"}})
	if _, err := users.Delete(ctx, "k"); err == nil {
		t.Fatal("no error")
	}
	var names, statuses []string
	for _, span := range spans.Ended() {
		names = append(names, span.Name())
		for _, each := range span.Attributes() {
			if each.Key == "rpc.response.status_code" {
				statuses = append(statuses, each.Value.AsString())
			}
		}
	}
	want := []string{"GetOrFetch", "Set", "GetOrFetch", "Delete"}
	for i, name := range want {
		if names[i] != "larder.v1.CacheService/"+name {
			t.Error(names)
		}
	}
	if !slices.Equal(statuses, []string{"OK", "OK", "OK", "UNAVAILABLE"}) {
		t.Error(statuses)
	}
	found := map[string]int64{}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, one := range scope.Metrics {
			switch data := one.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					found[one.Name] += point.Value
				}
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					found[one.Name] += int64(point.Count)
				}
			}
		}
	}
	for name, want := range map[string]int64{
		"rpc.client.call.duration": 4, "larder.client.loads": 1, "larder.client.hits": 1,
		"larder.client.retries": 2, "larder.client.errors": 1,
	} {
		if found[name] != want {
			t.Errorf("%s is %d, not %d", name, found[name], want)
		}
	}
	if err := observer.Close(); err != nil {
		t.Fatal(err)
	}
}
