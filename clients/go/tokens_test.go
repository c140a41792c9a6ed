package larder_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
)

func TestATokenProviderThatNeverAnswers(t *testing.T) {
	g, block := &gateway{}, make(chan struct{})
	var hangs atomic.Bool
	hangs.Store(true)
	provider := func(context.Context) (larder.Token, error) {
		if hangs.Load() {
			<-block
		}
		return larder.Token{Value: "t"}, nil
	}
	client := must[*larder.Client](t)(larder.New(g.serve(t), larder.WithTokenProvider(provider),
		larder.WithCallTimeout(50*time.Millisecond), larder.WithConnectTimeout(50*time.Millisecond)))
	defer func() { _ = client.Close() }()
	larder.SetTokenTime(client, 10*time.Millisecond)
	cache, ctx := newCache[string](t, client), context.Background()
	begun := time.Now()
	result := must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	if took := time.Since(begun); !result.Degraded || took > 2*time.Second {
		t.Fatal(result, took)
	}
	if _, err := cache.Delete(ctx, "k"); !errors.Is(err, larder.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	// Those that hang are bounded.
	before := runtime.NumGoroutine()
	for range 30 {
		_, _ = cache.Delete(ctx, "k")
	}
	if more := runtime.NumGoroutine() - before; more > 12 {
		t.Fatal(more, "more goroutines")
	}
	hangs.Store(false)
	close(block)
	eventually(t, "a token", func() bool {
		result, err := cache.Get(ctx, "k")
		return err == nil && !result.Degraded
	})
}

func TestCloseEndsTheTokenProvider(t *testing.T) {
	g, asked, ended := &gateway{}, make(chan struct{}), make(chan struct{})
	provider := func(ctx context.Context) (larder.Token, error) {
		close(asked)
		<-ctx.Done()
		close(ended)
		return larder.Token{}, ctx.Err()
	}
	client := must[*larder.Client](t)(larder.New(g.serve(t), larder.WithTokenProvider(provider)))
	ctx, leave := context.WithCancel(context.Background())
	cache, failed := newCache[string](t, client), make(chan error, 1)
	go func() { failed <- errOf(cache.Get(ctx, "k")) }()
	<-asked
	leave()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = client.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the provider runs")
	}
}

func TestATokenProviderThatPanicsIsAnOutage(t *testing.T) {
	g := &gateway{}
	provider := func(context.Context) (larder.Token, error) { panic("boom") }
	client := must[*larder.Client](t)(larder.New(g.serve(t), larder.WithTokenProvider(provider)))
	defer func() { _ = client.Close() }()
	cache := newCache[string](t, client)
	ctx := context.Background()
	result := must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	var panicked *larder.PanicError
	if !result.Degraded || !errors.As(result.Err, &panicked) {
		t.Fatal(result)
	}
	// It is not the panic of the loader, which calls that compute repeat.
	raises := newCache[string](t, client, larder.Raise)
	for _, err := range []error{
		errOf(raises.GetOrFetch(ctx, "k", loads("v"))),
		errOf(raises.GetOrFetchMany(ctx, []string{"a", "b"}, loadsMany)),
	} {
		if !errors.Is(err, larder.ErrUnavailable) || !errors.As(err, &panicked) {
			t.Error(err)
		}
	}
}

func TestATokenThatNoHeaderCanHaveIsAnOutage(t *testing.T) {
	for _, value := range []string{"", "two words", "a\nb"} {
		g := &gateway{}
		provider := func(context.Context) (larder.Token, error) {
			return larder.Token{Value: value}, nil
		}
		client := must[*larder.Client](t)(
			larder.New(g.serve(t), larder.WithTokenProvider(provider)))
		cache, ctx := newCache[string](t, client), context.Background()
		found := must[larder.Result[string]](t)(cache.GetOrFetch(ctx, "k", loads("v")))
		if found.Value != "v" || !found.Degraded || !errors.Is(found.Err, larder.ErrUnavailable) {
			t.Error(value, found)
		}
		var wrong *larder.ArgumentError
		_, err := cache.Delete(ctx, "k")
		if !errors.Is(err, larder.ErrUnavailable) || !errors.As(err, &wrong) {
			t.Error(value, err)
		}
		if count := client.Counters()["test"].Errors; count != 2 {
			t.Error(value, count, "errors")
		}
		_ = client.Close()
	}
}

// TestATokenIsReplacedUnderManyCalls lets ten calls be refused at once: a refusal of the old token
// must not end the new one.
func TestATokenIsReplacedUnderManyCalls(t *testing.T) {
	var valid, asked atomic.Int32
	var waiting sync.WaitGroup
	waiting.Add(10)
	valid.Store(1)
	server := &scripted{}
	server.get = func(
		ctx context.Context, _ *larderpb.GetRequest,
	) (*larderpb.GetResponse, error) {
		if tokenOf(ctx) == "Bearer 1" {
			waiting.Done()
			waiting.Wait()
			return nil, status.Error(codes.Unauthenticated, "revoked")
		}
		return &larderpb.GetResponse{Outcome: larderpb.Outcome_OUTCOME_MISS}, nil
	}
	provider := func(context.Context) (larder.Token, error) {
		return larder.Token{Value: map[bool]string{true: "1", false: "2"}[asked.Add(1) == 1]}, nil
	}
	client := must[*larder.Client](t)(larder.New(
		server.serve(t), larder.WithTokenProvider(provider), larder.WithPreset(larder.PresetLocal)))
	defer func() { _ = client.Close() }()
	cache := newCache[string](t, client)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if result, err := cache.Get(context.Background(), "k"); err != nil || result.Degraded {
				t.Error(result, err)
			}
		})
	}
	all.Wait()
	if asked.Load() != 2 {
		t.Error("asked", asked.Load(), "times")
	}
}

func TestAnObserverThatPanicsDoesNotKeepTheBreakerOpen(t *testing.T) {
	var panics atomic.Bool
	client := must[*larder.Client](t)(larder.New("127.0.0.1:1",
		larder.WithObserver(observer(func() {
			if panics.Load() {
				panic("boom")
			}
		})), larder.WithConnectTimeout(20*time.Millisecond), larder.WithCallTimeout(20*time.Millisecond)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	isOpen := func() bool {
		var failure *larder.Error
		result, _ := cache.Get(ctx, "k")
		return errors.As(result.Err, &failure) && failure.Reason == "BREAKER_OPEN"
	}
	eventually(t, "the breaker is open", isOpen)
	panics.Store(true)
	eventually(t, "the call that tries panics", func() (panicked bool) {
		defer func() { panicked = recover() != nil }()
		_, _ = cache.Get(ctx, "k")
		return false
	})
	panics.Store(false)
	eventually(t, "another call tries", func() bool { return !isOpen() })
}

type observer func()

func (o observer) Call(ctx context.Context, _, _ string) (context.Context, func(error)) {
	o()
	return ctx, func(error) {}
}
