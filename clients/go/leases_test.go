package larder_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
	"larder.test/clients/go/lardertest"
)

// hooked is a codec of text that runs functions of a test.
type hooked struct{ encode, decode func(string) }

func (h *hooked) Encode(value string) (larder.Encoded, error) {
	if h.encode != nil {
		h.encode(value)
	}
	return larder.Encoded{Kind: larder.KindText, Text: value}, nil
}

func (h *hooked) Decode(encoded larder.Encoded) (string, error) {
	if h.decode != nil {
		h.decode(encoded.Text)
	}
	return encoded.Text, nil
}

func loads(value string) larder.Loader[string] {
	return func(context.Context) (string, error) { return value, nil }
}

func loadsMany(_ context.Context, keys []string) (map[string]string, error) {
	values := map[string]string{}
	for _, key := range keys {
		values[key] = "of " + key
	}
	return values, nil
}

func passedOn(fake *lardertest.Fake) int {
	count := 0
	for _, call := range fake.Calls("Abandon") {
		if call.Request.(*larderpb.AbandonRequest).PassOn {
			count++
		}
	}
	return count
}

func TestAPanicOfACodecReachesTheCaller(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	cache := larder.With(namespace, &hooked{encode: func(string) { panic("boom") }})
	func() {
		defer func() {
			if panicked, ok := recover().(*larder.PanicError); !ok || panicked.Value != "boom" {
				t.Error("no panic")
			}
		}()
		_, _ = cache.GetOrFetch(context.Background(), "k", loads("v"))
	}()
	eventually(t, "the lease is passed on", func() bool { return passedOn(fake) == 1 })
}

func TestACodecThatEndsItsGoroutineIsAnError(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	cache := larder.With(namespace, &hooked{encode: func(string) { runtime.Goexit() }})
	_, err := cache.GetOrFetch(context.Background(), "k", loads("v"))
	if err == nil || !strings.Contains(err.Error(), "ended its goroutine") {
		t.Fatal(err)
	}
	eventually(t, "the lease is passed on", func() bool { return passedOn(fake) == 1 })
}

func TestAPanicOfACodecInTheBackgroundIsLogged(t *testing.T) {
	log := &lines{}
	fake, client := lardertest.Start(t, lardertest.Config{
		Defaults: lardertest.Namespace{StaleWhileRevalidate: time.Hour},
	}, larder.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	var panics atomic.Bool
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	cache := larder.With(namespace, &hooked{encode: func(string) {
		if panics.Load() {
			panic("boom")
		}
	}})
	ctx := context.Background()
	for _, key := range []string{"a", "b"} {
		must[larder.Write](t)(cache.Set(ctx, key, "old", larder.TTL(time.Second)))
	}
	fake.Advance(2 * time.Second)
	panics.Store(true)
	must[larder.Result[string]](t)(cache.GetOrFetch(ctx, "a", loads("new")))
	must[map[string]larder.Result[string]](t)(cache.GetOrFetchMany(ctx, []string{"b"}, loadsMany))
	eventually(t, "the leases are passed on", func() bool {
		return passedOn(fake) == 2 && log.count("has panicked") == 2
	})
}

func TestAPanicOfACodecEndsTheLeasesOfABatch(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	cache, ctx := larder.Of[string](namespace), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "there", "v"))
	for name, codec := range map[string]*hooked{
		"decode": {decode: func(string) { panic("boom") }},
		"encode": {encode: func(string) { panic("boom") }},
	} {
		before := passedOn(fake)
		func() {
			defer func() { _ = recover() }()
			_, err := larder.With(namespace, codec).GetOrFetchMany(
				ctx, []string{name + "a", "there", name + "b"}, loadsMany)
			t.Error("no panic:", err)
		}()
		eventually(t, "the leases are passed on", func() bool { return passedOn(fake)-before == 2 })
	}
}

// TestAPanicWhileAStaleValueIsRead has a codec that fails on what the lease comes with.
func TestAPanicWhileAStaleValueIsRead(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{
		Defaults: lardertest.Namespace{StaleIfError: time.Hour},
	})
	namespace := must[*larder.Namespace](t)(client.Namespace("test", larder.NearCache{}))
	cache := larder.With(namespace, &hooked{decode: func(string) { panic("boom") }})
	ctx := context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", "old", larder.TTL(time.Second)))
	must[larder.Write](t)(cache.Set(ctx, "near", "v"))
	panics := func(call func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		call()
	}
	panics(func() { _, _ = cache.Get(ctx, "near") })
	eventually(t, "the feed of the near cache", func() bool { return larder.NearReady(namespace) })
	panics(func() { _, _ = cache.Get(ctx, "near") })
	panics(func() { _, _ = cache.GetOrFetch(ctx, "near", loads("v")) })
	if count := larder.NearPending(namespace); count != 0 {
		t.Error(count, "reads under way")
	}
	fake.Advance(2 * time.Second)
	panics(func() { _, _ = cache.GetOrFetch(ctx, "k", loads("new")) })
	eventually(t, "the lease is passed on", func() bool { return passedOn(fake) == 1 })
}

func TestAFillThatFailsDoesNotChangeTheValue(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	ctx := context.Background()
	for _, each := range []struct {
		code   codes.Code
		handle larder.OnError
		reason larder.NotStoredReason
	}{
		{codes.Unavailable, larder.FailOpen, larder.Unavailable},
		{codes.Unavailable, larder.Raise, larder.Unavailable},
		{codes.InvalidArgument, larder.FailOpen, larder.NotStored},
		{codes.PermissionDenied, larder.Raise, larder.NotStored},
	} {
		cache := newCache[string](t, client, each.handle)
		fake.Fail(lardertest.Failure{Code: each.code, Methods: []string{"Set", "BatchSet"}})
		one, err := cache.GetOrFetch(ctx, "one", loads("v"))
		if err != nil || one.Value != "v" || one.Fill.Reason != each.reason || one.Degraded {
			t.Error(each, one, err)
		}
		many, err := cache.GetOrFetchMany(ctx, []string{"a", "b"}, loadsMany)
		if err != nil || many["b"].Value != "of b" || many["b"].Fill.Reason != each.reason {
			t.Error(each, many, err)
		}
		fake.Recover()
		for range 2 {
			// The lease was passed on: the next caller has one, without a back-off.
			again, err := cache.GetOrFetch(ctx, "one", loads("w"))
			if err != nil || again.Value != "w" {
				t.Error(each, again, err)
			}
		}
		must[larder.Invalidation](t)(cache.InvalidateNamespace(ctx))
	}
}

func TestAValueThatStaysUndecodableIsComputed(t *testing.T) {
	server := &scripted{getOrFetch: func(
		*larderpb.GetOrFetchRequest,
	) (*larderpb.GetOrFetchResponse, error) {
		return &larderpb.GetOrFetchResponse{Outcome: &larderpb.GetOrFetchResponse_Found{
			Found: &larderpb.Found{
				Outcome: larderpb.Outcome_OUTCOME_HIT,
				Value:   &larderpb.Value{Kind: &larderpb.Value_Text{Text: "old form"}},
			},
		}}, nil
	}}
	client := must[*larder.Client](t)(larder.New(server.serve(t)))
	defer func() { _ = client.Close() }()
	cache := newCache[map[string]int](t, client)
	result, err := cache.GetOrFetch(context.Background(), "k",
		func(context.Context) (map[string]int, error) { return map[string]int{"a": 1}, nil })
	if err != nil || result.Value["a"] != 1 || result.Fill.Stored || server.count("GetOrFetch") != 2 {
		t.Fatal(result, err, server.count("GetOrFetch"))
	}
}

func TestAStaleValueForFailuresIsOnlyASubstitute(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{
		Defaults: lardertest.Namespace{StaleIfError: time.Hour},
	})
	cache, ctx := newCache[string](t, client), context.Background()
	for _, key := range []string{"a", "b", "c"} {
		must[larder.Write](t)(cache.Set(ctx, key, "old", larder.TTL(time.Second)))
	}
	fake.Advance(2 * time.Second)
	if result := must[larder.Result[string]](t)(cache.GetOrFetch(ctx, "a", loads("new"))); result.
		Value != "new" {
		t.Error(result)
	}
	many := must[map[string]larder.Result[string]](t)(
		cache.GetOrFetchMany(ctx, []string{"b"}, loadsMany))
	if many["b"].Value != "of b" {
		t.Error(many)
	}
	failed := errors.New("no rows")
	result, err := cache.GetOrFetch(ctx, "c",
		func(context.Context) (string, error) { return "", failed })
	if err != nil || result.Value != "old" || result.Err != failed {
		t.Error(result, err)
	}
}

func TestAnOutageIsTheErrorOfCallersThatWantIt(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	open, raises := newCache[string](t, client), newCache[string](t, client, larder.Raise)
	ctx := context.Background()
	fake.Fail(lardertest.Failure{Methods: []string{"GetOrFetch"}})
	begun, release := make(chan struct{}), make(chan struct{})
	answers := make(chan larder.Result[string], 1)
	go func() {
		result, _ := open.GetOrFetch(ctx, "k", func(context.Context) (string, error) {
			close(begun)
			<-release
			return "v", nil
		})
		answers <- result
	}()
	<-begun
	_, err := raises.GetOrFetch(ctx, "k", loads("w"))
	close(release)
	if !errors.Is(err, larder.ErrUnavailable) {
		t.Error(err)
	}
	if result := <-answers; result.Value != "v" {
		t.Error(result)
	}
}

func TestCloseEndsComputationsThatAreNotJoinedAnyMore(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client), context.Background()
	begun, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := cache.GetOrFetch(ctx, "k", func(ctx context.Context) (string, error) {
			close(begun)
			<-ctx.Done()
			return "", ctx.Err()
		})
		failed <- err
	}()
	<-begun
	must[larder.Deletion](t)(cache.Delete(ctx, "k"))
	_ = client.Close()
	select {
	case err := <-failed:
		if !errors.Is(err, larder.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(deadline):
		t.Fatal("the computation goes on")
	}
	if passedOn(fake) != 1 {
		t.Error(fake.Calls("Abandon"))
	}
}

func TestAValueWithoutALifetimeDeletesTheOldOne(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client), context.Background()
	keys := []string{"a", "b"}
	must[map[string]larder.Write](t)(cache.SetMany(ctx, map[string]string{"a": "1", "b": "2"}))
	many := must[map[string]larder.Result[string]](t)(
		cache.GetOrFetchMany(ctx, keys, loadsMany, larder.Refresh(), larder.TTL(-1)))
	one := must[larder.Result[string]](t)(
		cache.GetOrFetch(ctx, "c", loads("3"), larder.TTL(0)))
	if many["a"].Fill.Reason != larder.Expired || one.Fill.Reason != larder.Expired {
		t.Error(many, one)
	}
	for key, result := range must[map[string]larder.Result[string]](t)(cache.GetMany(ctx, keys)) {
		if result.Found() {
			t.Error(key, result)
		}
	}
	must[map[string]larder.Write](t)(cache.SetMany(ctx, map[string]string{"a": "1", "b": "2"}))
	written := must[map[string]larder.Write](t)(
		cache.SetMany(ctx, map[string]string{"a": "1", "b": "2"}, larder.TTL(0)))
	if written["a"].Reason != larder.Expired || len(fake.Calls("BatchDelete")) != 2 {
		t.Error(written, len(fake.Calls("BatchDelete")))
	}
}

func TestParamsAreThoseOfTheTimeOfTheCall(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client), context.Background()
	params := larder.Params{"lang": "de"}
	load := func(context.Context) (string, error) {
		params["lang"] = "en"
		return "v", nil
	}
	result := must[larder.Result[string]](t)(cache.GetOrFetch(ctx, "k", load, params))
	sent := fake.Calls("Set")[0].Request.(*larderpb.SetRequest).Params
	if !result.Fill.Stored || sent["lang"] != "de" {
		t.Error(result, sent)
	}
}
