package larderotel_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderotel"
	"larder.test/clients/go/lardertest"
)

// misses is the sum of the counter.
func misses(t *testing.T, reader *metric.ManualReader) (sum int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, one := range scope.Metrics {
			if data, ok := one.Data.(metricdata.Sum[int64]); ok && one.Name == "larder.client.misses" {
				for _, point := range data.DataPoints {
					sum += point.Value
				}
			}
		}
	}
	return sum
}

func TestCountersOfClosedClientsStay(t *testing.T) {
	reader := metric.NewManualReader()
	observer, err := larderotel.New(
		larderotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		_, client := lardertest.Start(t, lardertest.Config{}, larder.WithObserver(observer))
		cache, err := larder.For[string](client, "users")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cache.Get(context.Background(), "k"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // Before Close and after it.
			if sum := misses(t, reader); sum != int64(i)+1 {
				t.Fatal(sum, "misses after", i+1)
			}
			_ = client.Close()
		}
	}
}

func TestTheStatusOfACallThatItsCallerHasLeft(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	observer, err := larderotel.New(
		larderotel.WithTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans))))
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancelCause(context.Background())
	_, end := observer.Call(ctx, "Get", "users")
	leave(&larder.Error{Message: "of another call"})
	end(errors.Join(ctx.Err(), context.Cause(ctx)))
	_, end = observer.Call(ctx, "Get", "users")
	end(context.DeadlineExceeded)
	// That of a token provider that is out of time is no end of the caller.
	for _, cause := range []error{&larder.ArgumentError{}, context.Canceled} {
		_, client := lardertest.Start(t, lardertest.Config{}, larder.WithObserver(observer),
			larder.WithTokenProvider(func(context.Context) (larder.Token, error) {
				return larder.Token{}, cause
			}))
		cache, err := larder.For[string](client, "users")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cache.Get(context.Background(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{
		"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "UNAVAILABLE",
	} {
		found := attribute.NewSet(spans.Ended()[i].Attributes()...)
		if code, _ := found.Value("rpc.response.status_code"); code.AsString() != want {
			t.Error(code.AsString(), "is not", want)
		}
	}
}
