package larder_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
	"larder.test/clients/go/lardertest"
)

func TestADeadConnectionIsReplacedAfterFiveCalls(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	p := newProxy(t, server.Target)
	client := must[*larder.Client](t)(larder.New(p.listener.Addr().String(),
		larder.WithCallTimeout(100*time.Millisecond), larder.WithOnError(larder.Raise)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	if err := client.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	p.silence()
	for i := range 5 {
		if _, err := cache.Get(ctx, "k"); !errors.Is(err, larder.ErrDeadlineExceeded) {
			t.Fatal(i, err)
		}
		if i < 4 && p.connections() != 1 {
			t.Fatalf("replaced after %d calls", i+1)
		}
	}
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	if got := p.connections(); got != 2 {
		t.Fatalf("%d connections, not 2", got)
	}
}

func TestAnIdleConnectionIsReplaced(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	p := newProxy(t, server.Target)
	client := must[*larder.Client](t)(larder.New(p.listener.Addr().String(),
		larder.WithPreset(larder.PresetLambda), larder.WithMaxIdle(500*time.Millisecond)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	if got := p.connections(); got != 1 {
		t.Fatalf("%d connections, not 1", got)
	}
	time.Sleep(550 * time.Millisecond) // The idle time itself.
	p.silence()
	if result := must[larder.Result[string]](t)(cache.Get(ctx, "k")); result.Degraded {
		t.Fatal(result.Err)
	}
	if got := p.connections(); got != 2 {
		t.Fatalf("%d connections, not 2", got)
	}
}

func TestTheGeneratedStubsAreReachable(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	client := must[*larder.Client](t)(larder.New(server.Target))
	cache, ctx := newCache[string](t, client), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", "v"))
	stub := larderpb.NewAdminServiceClient(client.Connection())
	answer, err := stub.ListKeys(ctx, &larderpb.AdminServiceListKeysRequest{Namespace: "test"})
	if err != nil || len(answer.Keys) != 1 {
		t.Fatal(answer, err)
	}
	_ = client.Close()
	if _, err := stub.ListKeys(ctx, nil); !errors.Is(err, larder.ErrClosed) {
		t.Fatal(err)
	}
}

func TestAnEndedContextNeverReachesTheServer(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := cache.Get(ctx, "k")
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	load := func(context.Context) (string, error) { return "v", nil }
	if _, err = cache.GetOrFetch(ctx, "k", load); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err = cache.GetOrFetchMany(ctx, []string{"k"}, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	late, cancel := context.WithTimeout(context.Background(), -time.Second)
	defer cancel()
	if _, err = cache.Delete(late, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if calls := fake.Calls(""); len(calls) != 0 {
		t.Error(calls)
	}
}

func TestTheDeadlineOfTheCallerIsNoOutage(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	fake.Delay(time.Hour)
	defer fake.Recover()
	const limit = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if _, err := cache.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if call := fake.Calls("Get")[0]; call.Timeout > limit {
		t.Fatal("the server was given", call.Timeout)
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	before := runtime.NumGoroutine()
	client := must[*larder.Client](t)(larder.New(server.Target))
	cache, ctx := newCache[string](t, client, larder.NearCache{}), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", "v"))
	eventually(t, "a hit of the near cache", func() bool {
		return must[larder.Result[string]](t)(cache.Get(ctx, "k")).Tier == larder.TierClient
	})
	begun, block := make(chan struct{}), make(chan struct{})
	defer close(block)
	failed := make(chan error, 1)
	go func() {
		_, err := cache.GetOrFetch(ctx, "other", func(ctx context.Context) (string, error) {
			close(begun)
			<-ctx.Done()
			return "", ctx.Err()
		})
		failed <- err
	}()
	<-begun
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, larder.ErrClosed) {
		t.Error(err)
	}
	eventually(t, "all goroutines have ended", func() bool {
		return runtime.NumGoroutine() <= before
	})
}

func TestCloseGivesLeasesUp(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	begun, block := make(chan struct{}), make(chan struct{})
	defer close(block)
	go func() {
		_, _ = cache.GetOrFetch(context.Background(), "k",
			func(context.Context) (string, error) {
				close(begun)
				<-block // A loader that does not look at its context.
				return "", nil
			})
	}()
	<-begun
	_ = client.Close()
	calls := fake.Calls("Abandon")
	if len(calls) != 1 || !calls[0].Request.(*larderpb.AbandonRequest).PassOn {
		t.Fatal(calls)
	}
}

func TestCloseGivesTheLeasesOfABatchUp(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	begun, block := make(chan struct{}), make(chan struct{})
	defer close(block)
	failed := make(chan error, 1)
	go func() {
		_, err := cache.GetOrFetchMany(context.Background(), []string{"a", "b"},
			func(context.Context, []string) (map[string]string, error) {
				close(begun)
				<-block
				return nil, nil
			})
		failed <- err
	}()
	<-begun
	_ = client.Close()
	if err := <-failed; !errors.Is(err, larder.ErrClosed) {
		t.Error(err)
	}
	if calls := fake.Calls("Abandon"); len(calls) != 2 {
		t.Fatal(calls)
	}
}

func TestTargets(t *testing.T) {
	for target, want := range map[string]string{
		"localhost:1":          "dns:///localhost:1 true",
		"127.0.0.1:50051":      "dns:///127.0.0.1:50051 true",
		"[::1]:50051":          "dns:///[::1]:50051 true",
		"cache.example:50051":  "dns:///cache.example:50051 false",
		"dns:///cache:1":       "dns:///cache:1 false",
		"unix:/run/larder":     "unix:/run/larder true",
		"127.0.0.1:1, b:2":     "larder-addresses:///127.0.0.1:1,b:2 false",
		"dns:///127.0.0.1:1,a": "error target",
		"cache":                "error target",
		":50051":               "error target",
		"cache:0":              "error target",
		"cache:70000":          "error target",
		"http://cache:1":       "error target",
	} {
		uri, loopback, err := larder.ParseTarget(target)
		got := uri + map[bool]string{true: " true", false: " false"}[loopback]
		if err != nil {
			var wrong *larder.ArgumentError
			if !errors.As(err, &wrong) {
				t.Fatal(err)
			}
			got = "error " + wrong.Argument
		}
		if got != want {
			t.Errorf("%s: %s, not %s", target, got, want)
		}
	}
}

func TestRetriesEndWithTheTimeLimit(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{},
		larder.WithCallTimeout(60*time.Millisecond))
	cache := newCache[string](t, client)
	fake.Fail(lardertest.Failure{Code: codes.Unavailable, After: 50 * time.Millisecond})
	if err := client.Connect(context.Background()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	result := must[larder.Result[string]](t)(cache.Get(context.Background(), "k"))
	if !result.Degraded || time.Since(begun) > time.Second {
		t.Fatal(result, time.Since(begun))
	}
	if calls := len(fake.Calls("Get")); calls > 2 {
		t.Fatal(calls, "calls")
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for name, option := range map[string]larder.Option{
		"Preset":        larder.WithPreset("fastest"),
		"OnError":       larder.WithOnError("ignore"),
		"SchemaVersion": larder.WithSchemaVersion("a b"),
		"CallTimeout":   larder.WithCallTimeout(0),
		"Wait":          larder.WithWait(-1),
		"Background":    larder.WithBackground(-1),
		"Certificate":   larder.WithCertificate("cert.pem", ""),
		"Token":         larder.WithToken("with space"),
	} {
		_, err := larder.New("", option)
		var wrong *larder.ArgumentError
		if !errors.As(err, &wrong) || !strings.Contains(wrong.Argument, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
