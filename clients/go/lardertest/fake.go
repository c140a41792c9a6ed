package lardertest

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
)

// Config is the configuration of a fake.
type Config struct {
	// Defaults are the settings of namespaces that Namespaces does not name.
	Defaults Namespace
	// Namespaces are settings by the name that the server sees.
	Namespaces map[string]Namespace
	// Events are the targets of events of the business, by the name of the event. An error is an
	// invalid argument.
	Events map[string]func(attributes map[string]string) ([]*larderpb.Target, error)
}

// Call is a call that has reached the fake.
type Call struct {
	// Method is such as `Get`.
	Method   string
	Request  proto.Message
	Metadata metadata.MD
	// Timeout is the rest of the deadline; zero: there was none.
	Timeout time.Duration
}

// Failure is a failure to switch on.
type Failure struct {
	// Code is Unavailable if it is OK.
	Code   codes.Code
	Reason string
	// Methods are the calls that fail, such as `Get`; empty: all.
	Methods []string
	// Times is how many calls fail; 0: all until Recover.
	Times int
	// After is the time before the failure; a longer one than the deadline ends with that.
	After time.Duration
}

type activeFailure struct {
	Failure
	left int
}

// Fake is Larder in this process, for unit tests. Clients reach it over gRPC in memory, so that all
// of them but the network is as in production. Several clients can share one. It has no origins but
// those of [Namespace], and no FetchStream.
type Fake struct {
	namespaces map[string]Namespace
	defaults   Namespace
	events     map[string]func(map[string]string) ([]*larderpb.Target, error)
	listener   *bufconn.Listener
	server     *grpc.Server

	mu       sync.Mutex
	offset   time.Duration
	entries  map[place]*entry
	leases   leases
	watchers map[*watcher]struct{}
	counted  map[string]*larderpb.Counters
	calls    []Call
	failures []*activeFailure
	degraded bool
	delay    time.Duration
	// recovered is closed when delays end.
	recovered chan struct{}
}

// service has the calls, so that they are no methods of Fake for its users.
type service struct {
	larderpb.UnimplementedCacheServiceServer
	*Fake
}

// memory is the size of the buffers between clients and a fake.
const memory = 1 << 20

// maxCalls is the number of calls that are kept.
const maxCalls = 10_000

// NewFake starts a fake. It must be closed.
func NewFake(config Config) *Fake {
	f := &Fake{
		namespaces: config.Namespaces, defaults: config.Defaults, events: config.Events,
		listener: bufconn.Listen(memory), entries: map[place]*entry{}, leases: newLeases(),
		watchers: map[*watcher]struct{}{}, counted: map[string]*larderpb.Counters{},
		recovered: make(chan struct{}),
	}
	f.server = grpc.NewServer(
		grpc.UnaryInterceptor(f.unary), grpc.StreamInterceptor(f.stream),
		grpc.MaxRecvMsgSize(4<<20),
	)
	larderpb.RegisterCacheServiceServer(f.server, &service{Fake: f})
	go func() { _ = f.server.Serve(f.listener) }()
	return f
}

// Close ends the fake, and the calls that run.
func (f *Fake) Close() { f.server.Stop() }

// New makes a client of the fake. Certificates and tokens of the environment are not for it.
func (f *Fake) New(options ...larder.Option) (*larder.Client, error) {
	all := []larder.Option{
		larder.WithCAFile(""), larder.WithCertificate("", ""), larder.WithToken(""),
	}
	all = append(all, options...)
	all = append(all, larder.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return f.listener.DialContext(ctx)
	}))
	return larder.New("localhost:1", all...)
}

// Listen also serves on a free port of this machine, for programs that make their own clients. It
// ends with the fake.
func (f *Fake) Listen() (target string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = f.server.Serve(listener) }()
	return listener.Addr().String(), nil
}

// Start is a fake and a client with the preset local, which end with the test.
func Start(t testing.TB, config Config, options ...larder.Option) (*Fake, *larder.Client) {
	t.Helper()
	f := NewFake(config)
	t.Cleanup(f.Close)
	options = append([]larder.Option{larder.WithPreset(larder.PresetLocal)}, options...)
	client, err := f.New(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return f, client
}

// Advance lets time pass for TTLs and leases.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset += d
	f.wake()
}

// Fail lets calls fail until Recover.
func (f *Fake) Fail(failure Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, &activeFailure{Failure: failure, left: failure.Times})
}

// Degrade lets the store be away: the server answers, with `degraded`.
func (f *Fake) Degrade() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.degraded = true
}

// Delay lets each call take so long, until Recover.
func (f *Fake) Delay(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// Recover ends all failures and delays, also of calls that run.
func (f *Fake) Recover() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures, f.degraded, f.delay = nil, false, 0
	close(f.recovered)
	f.recovered = make(chan struct{})
}

// Clear removes all entries.
func (f *Fake) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.entries)
	f.resetWatches()
}

// Calls are the last 10,000 calls that have reached the fake, of a method or, if that is empty, of
// all.
func (f *Fake) Calls(method string) []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var chosen []Call
	for _, call := range f.calls {
		if method == "" || call.Method == method {
			chosen = append(chosen, call)
		}
	}
	return chosen
}

// enter records a call, and fails it if that is switched on.
func (f *Fake) enter(ctx context.Context, method string, request any) error {
	call := Call{Method: method, Request: request.(proto.Message)}
	call.Metadata, _ = metadata.FromIncomingContext(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		call.Timeout = time.Until(deadline)
	}
	f.mu.Lock()
	f.calls = append(f.calls, call)
	if len(f.calls) > maxCalls {
		f.calls = f.calls[1:]
	}
	var chosen *Failure
	for _, each := range f.failures {
		if each.Times > 0 && each.left == 0 ||
			len(each.Methods) > 0 && !slices.Contains(each.Methods, method) {
			continue
		}
		each.left--
		chosen = &each.Failure
		break
	}
	wait, recovered := f.delay, f.recovered
	f.mu.Unlock()
	if chosen != nil {
		wait = max(wait, chosen.After)
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-recovered:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if chosen == nil {
		return nil
	}
	code := chosen.Code
	if code == codes.OK {
		code = codes.Unavailable
	}
	return failure(code, chosen.Reason, "the fake fails on purpose", nil, 0)
}

const path = "/larder.v1.CacheService/"

func (f *Fake) unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	if err := f.enter(ctx, info.FullMethod[len(path):], request); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// stream records the request of a stream when that is read.
func (f *Fake) stream(
	server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	return handler(server, &recordedStream{stream, f, info.FullMethod[len(path):]})
}

type recordedStream struct {
	grpc.ServerStream
	fake   *Fake
	method string
}

func (r *recordedStream) RecvMsg(message any) error {
	if err := r.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	return r.fake.enter(r.Context(), r.method, message)
}

// schemaOf is the version of what the client caches: part of the name of every entry.
func schemaOf(ctx context.Context) string {
	if values := metadata.ValueFromIncomingContext(ctx, "larder-schema-version"); len(values) > 0 {
		return values[0]
	}
	return ""
}

func clone[M proto.Message](message M) M { return proto.Clone(message).(M) }
