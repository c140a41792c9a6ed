// Package larderotel observes the calls of a client of Larder with OpenTelemetry: spans, the W3C
// context to the server, the histogram `rpc.client.call.duration` and the counters of the client.
//
//	observer, err := larderotel.New()
//	client, err := larder.New("", larder.WithObserver(observer))
package larderotel

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	larder "larder.test/clients/go"
)

const name = "larder.test/clients/go/larderotel"

// Option is an option of [New].
type Option func(*Observer)

// WithTracerProvider is the one of [otel.GetTracerProvider] by default.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(o *Observer) { o.tracers = provider }
}

// WithMeterProvider is the one of [otel.GetMeterProvider] by default.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(o *Observer) { o.meters = provider }
}

// WithPropagator is the W3C context by default.
func WithPropagator(propagator propagation.TextMapPropagator) Option {
	return func(o *Observer) { o.propagator = propagator }
}

// Observer is for larder.WithObserver. Several clients can share one.
type Observer struct {
	tracers    trace.TracerProvider
	meters     metric.MeterProvider
	propagator propagation.TextMapPropagator

	tracer       trace.Tracer
	duration     metric.Float64Histogram
	registration metric.Registration

	mu      sync.Mutex
	clients map[*func() map[string]larder.Counts]struct{}
	// closed are the sums of clients that are closed, by namespace.
	closed map[string][]uint64
}

var _ larder.CountersObserver = (*Observer)(nil)

// New makes an observer, and registers its instruments.
func New(options ...Option) (*Observer, error) {
	o := &Observer{
		tracers: otel.GetTracerProvider(), meters: otel.GetMeterProvider(),
		propagator: propagation.NewCompositeTextMapPropagator(
			propagation.TraceContext{}, propagation.Baggage{},
		),
		clients: map[*func() map[string]larder.Counts]struct{}{}, closed: map[string][]uint64{},
	}
	for _, option := range options {
		option(o)
	}
	o.tracer = o.tracers.Tracer(name, trace.WithInstrumentationVersion(larder.Version))
	meter := o.meters.Meter(name, metric.WithInstrumentationVersion(larder.Version))
	var err error
	o.duration, err = meter.Float64Histogram("rpc.client.call.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of a call, with its retries."),
		metric.WithExplicitBucketBoundaries(
			0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
		))
	if err != nil {
		return nil, err
	}
	instruments := make([]metric.Observable, len(counterNames))
	counters := make([]metric.Int64ObservableCounter, len(counterNames))
	for i, counter := range counterNames {
		counters[i], err = meter.Int64ObservableCounter(
			"larder.client."+counter.name, metric.WithUnit("{event}"))
		if err != nil {
			return nil, err
		}
		instruments[i] = counters[i]
	}
	o.registration, err = meter.RegisterCallback(
		func(_ context.Context, observer metric.Observer) error {
			o.observe(observer, counters)
			return nil
		}, instruments...)
	return o, err
}

// Close ends the observation of the counters.
func (o *Observer) Close() error { return o.registration.Unregister() }

// Counters adds the counters of a client, until it is closed. Its events stay in the sums.
func (o *Observer) Counters(read func() map[string]larder.Counts) (end func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clients[&read] = struct{}{}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, open := o.clients[&read]; open {
			delete(o.clients, &read)
			add(o.closed, read())
		}
	}
}

// maxClosed is the number of namespaces of closed clients that are counted by themselves.
const maxClosed = 1000

// add adds the counters of a client to sums by namespace.
func add(sums map[string][]uint64, all map[string]larder.Counts) {
	for namespace, counts := range all {
		if sums[namespace] == nil && len(sums) >= maxClosed {
			namespace = "_other"
		}
		if sums[namespace] == nil {
			sums[namespace] = make([]uint64, len(counterNames))
		}
		for i, counter := range counterNames {
			sums[namespace][i] += counter.of(counts)
		}
	}
}

var counterNames = []struct {
	name string
	of   func(larder.Counts) uint64
}{
	{"hits", func(c larder.Counts) uint64 { return c.Hits }},
	{"misses", func(c larder.Counts) uint64 { return c.Misses }},
	{"stale", func(c larder.Counts) uint64 { return c.Stale }},
	{"negatives", func(c larder.Counts) uint64 { return c.Negatives }},
	{"near_hits", func(c larder.Counts) uint64 { return c.NearHits }},
	{"loads", func(c larder.Counts) uint64 { return c.Loads }},
	{"load_errors", func(c larder.Counts) uint64 { return c.LoadErrors }},
	{"joined", func(c larder.Counts) uint64 { return c.Joined }},
	{"fail_open", func(c larder.Counts) uint64 { return c.FailOpen }},
	{"fills_refused", func(c larder.Counts) uint64 { return c.FillsRefused }},
	{"undecodable", func(c larder.Counts) uint64 { return c.Undecodable }},
	{"errors", func(c larder.Counts) uint64 { return c.Errors }},
	{"retries", func(c larder.Counts) uint64 { return c.Retries }},
}

func (o *Observer) observe(observer metric.Observer, counters []metric.Int64ObservableCounter) {
	// Clients of one process have one series per namespace.
	o.mu.Lock()
	sums := make(map[string][]uint64, len(o.closed))
	for namespace, values := range o.closed {
		sums[namespace] = slices.Clone(values)
	}
	for read := range o.clients {
		add(sums, (*read)())
	}
	o.mu.Unlock()
	for namespace, values := range sums {
		set := metric.WithAttributes(attribute.String("namespace", namespace))
		for i, value := range values {
			if value > 0 {
				observer.ObserveInt64(counters[i], int64(value), set)
			}
		}
	}
}

// Call begins a span.
func (o *Observer) Call(
	ctx context.Context, method, namespace string,
) (context.Context, func(error)) {
	started := time.Now()
	rpc := attribute.String("rpc.method", "larder.v1.CacheService/"+method)
	system := attribute.String("rpc.system.name", "grpc")
	ctx, span := o.tracer.Start(ctx, rpc.Value.AsString(),
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(system, rpc, attribute.String("larder.namespace", namespace)))
	carrier := propagation.MapCarrier{}
	o.propagator.Inject(ctx, carrier)
	for header, value := range carrier {
		ctx = metadata.AppendToOutgoingContext(ctx, header, value)
	}
	return ctx, func(err error) {
		code := attribute.String("rpc.response.status_code", codeOf(err))
		span.SetAttributes(code)
		if err != nil {
			span.SetAttributes(attribute.String("error.type", code.Value.AsString()))
			span.SetStatus(otelcodes.Error, err.Error())
		}
		span.End()
		o.duration.Record(ctx, time.Since(started).Seconds(),
			metric.WithAttributes(system, rpc, code))
	}
}

// codeOf is the name of the status in gRPC, such as `NOT_FOUND`.
func codeOf(err error) string {
	if err == nil {
		return "OK"
	}
	// Not errors.As for this one: the cause of a context that has ended may be an error of another
	// call, and that of an error any other.
	failure, ok := err.(*larder.Error)
	var wrong *larder.ArgumentError
	switch {
	case ok:
	case errors.Is(err, context.Canceled):
		return "CANCELLED"
	case errors.Is(err, context.DeadlineExceeded):
		return "DEADLINE_EXCEEDED"
	case errors.As(err, &wrong):
		return "INVALID_ARGUMENT"
	default:
		return "UNKNOWN"
	}
	code := failure.Code.String()
	if code == "Canceled" {
		return "CANCELLED"
	}
	var text strings.Builder
	for i, letter := range code {
		if i > 0 && unicode.IsUpper(letter) {
			text.WriteByte('_')
		}
		text.WriteRune(unicode.ToUpper(letter))
	}
	return text.String()
}
