package larder_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
	"larder.test/clients/go/lardertest"
)

func TestAPanicOfALoaderReachesAllThatWait(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	begun, release := make(chan struct{}), make(chan struct{})
	var panics atomic.Int32
	var all sync.WaitGroup
	call := func() {
		defer func() {
			if panicked, ok := recover().(*larder.PanicError); ok && panicked.Value == "boom" {
				panics.Add(1)
			}
		}()
		_, _ = cache.GetOrFetch(context.Background(), "k", func(context.Context) (string, error) {
			close(begun)
			<-release
			panic("boom")
		})
	}
	all.Go(call)
	<-begun
	for range 3 {
		all.Go(call)
	}
	eventually(t, "all have joined", waiting(4))
	close(release)
	all.Wait()
	if panics.Load() != 4 {
		t.Fatal(panics.Load(), "panics, not 4")
	}
	eventually(t, "the lease is abandoned", func() bool { return len(fake.Calls("Abandon")) == 1 })
}

func TestAnErrorOfALoaderMayHaveAPanicAsItsCause(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client), context.Background()
	failed := fmt.Errorf("a worker: %w", &larder.PanicError{Value: "boom"})
	_, err := cache.GetOrFetch(ctx, "k", func(context.Context) (string, error) { return "", failed })
	if err != failed {
		t.Error(err)
	}
	_, err = cache.GetOrFetchMany(ctx, []string{"a", "b"},
		func(context.Context, []string) (map[string]string, error) { return nil, failed })
	if err != failed {
		t.Error(err)
	}
}

func TestALoaderThatEndsItsGoroutineIsAnError(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	_, err := cache.GetOrFetch(context.Background(), "k", func(context.Context) (string, error) {
		runtime.Goexit()
		return "", nil
	})
	if err == nil {
		t.Fatal("no error")
	}
}

// TestWhatJoinedAReadAsksAgain: a value that was read before an invalidation is no answer to a call
// that began after it, and only a fill proves that there was none.
func TestWhatJoinedAReadAsksAgain(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", "v"))
	load := func(context.Context) (string, error) { return "", errors.New("there is a value") }
	fake.Delay(100 * time.Millisecond)
	var all sync.WaitGroup
	var joined atomic.Int32
	call := func() {
		result, err := cache.GetOrFetch(ctx, "k", load)
		if err != nil || result.Value != "v" {
			t.Error(result, err)
		}
		if result.Joined {
			joined.Add(1)
		}
	}
	all.Go(call)
	eventually(t, "the first call", func() bool { return len(fake.Calls("GetOrFetch")) == 1 })
	for range 10 {
		all.Go(call)
	}
	all.Wait()
	// The ten ask again, together: one of them by itself.
	if calls := len(fake.Calls("GetOrFetch")); calls != 2 || joined.Load() != 9 {
		t.Error(calls, "calls,", joined.Load(), "joined")
	}
}

type contextKey struct{}

func TestTheContextOfALoader(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	ctx := context.WithValue(context.Background(), contextKey{}, "trace")
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	load := func(ctx context.Context) (string, error) {
		if _, hasDeadline := ctx.Deadline(); hasDeadline {
			return "", errors.New("the deadline of one caller is not that of the others")
		}
		return ctx.Value(contextKey{}).(string), nil
	}
	result := must[larder.Result[string]](t)(cache.GetOrFetch(ctx, "k", load))
	if result.Value != "trace" {
		t.Fatal(result)
	}
}

func TestTheLastCallerThatLeavesCancelsTheLoader(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	begun, cancelled := make(chan struct{}), make(chan error, 1)
	load := func(ctx context.Context) (string, error) {
		close(begun)
		<-ctx.Done()
		cancelled <- context.Cause(ctx)
		return "", ctx.Err()
	}
	cause := errors.New("the request has ended")
	first, leaveFirst := context.WithCancelCause(context.Background())
	second, leaveSecond := context.WithCancelCause(context.Background())
	errs := make(chan error, 2)
	for i, ctx := range []context.Context{first, second} {
		if i == 1 {
			<-begun
		}
		go func() {
			_, err := cache.GetOrFetch(ctx, "k", load)
			errs <- err
		}()
	}
	eventually(t, "the second has joined", waiting(2))
	leaveFirst(nil)
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	select {
	case err := <-cancelled:
		t.Fatal("the loader was cancelled although a caller waits:", err)
	case <-time.After(50 * time.Millisecond):
	}
	leaveSecond(cause)
	if err := <-errs; !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
		t.Fatal(err)
	}
	if err := <-cancelled; err != cause {
		t.Fatal(err)
	}
	eventually(t, "the lease is passed on", func() bool {
		calls := fake.Calls("Abandon")
		return len(calls) == 1 && calls[0].Request.(*larderpb.AbandonRequest).PassOn
	})
}

type failedQuery struct{}

func (failedQuery) Error() string { return "no rows" }

func TestTheReasonOfAnAbandonedLeaseIsTheTypeOfTheError(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	_, err := cache.GetOrFetch(context.Background(), "k", func(context.Context) (string, error) {
		return "", fmt.Errorf("users: %w", failedQuery{})
	})
	if !errors.As(err, new(failedQuery)) {
		t.Fatal(err)
	}
	eventually(t, "the lease is abandoned", func() bool { return len(fake.Calls("Abandon")) == 1 })
	reason := fake.Calls("Abandon")[0].Request.(*larderpb.AbandonRequest).Reason
	if reason != "larder_test.failedQuery" {
		t.Fatal(reason)
	}
}

func TestViewsOfOtherTypesDoNotJoin(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	ctx := context.Background()
	begun, release := make(chan struct{}), make(chan struct{})
	first := make(chan larder.Result[int], 1)
	go func() {
		result, _ := larder.Of[int](namespace).GetOrFetch(ctx, "k",
			func(context.Context) (int, error) {
				close(begun)
				<-release
				return 7, nil
			})
		first <- result
	}()
	<-begun
	second := make(chan larder.Result[any], 1)
	go func() {
		result, err := larder.Of[any](namespace).GetOrFetch(ctx, "k", nil)
		if err != nil {
			t.Error(err)
		}
		second <- result
	}()
	close(release)
	if result := <-first; result.Value != 7 {
		t.Fatal(result)
	}
	if result := <-second; result.Found() && result.Value != int64(7) {
		t.Fatal(result)
	}
}

func TestAnInvalidationEndsTheJoining(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[int32](t, client), context.Background()
	var loads atomic.Int32
	begun, release := make(chan struct{}, 2), make(chan struct{})
	load := func(context.Context) (int32, error) {
		value := loads.Add(1)
		begun <- struct{}{}
		if value == 1 {
			<-release
		}
		return value, nil
	}
	first := make(chan larder.Result[int32], 1)
	go func() {
		result, _ := cache.GetOrFetch(ctx, "k", load)
		first <- result
	}()
	<-begun
	must[larder.Deletion](t)(cache.Delete(ctx, "k"))
	// A call that began after the deletion must not have the value from before it.
	second := must[larder.Result[int32]](t)(cache.GetOrFetch(ctx, "k", load))
	if result := second; result.Value != 2 {
		t.Fatal(result)
	}
	close(release)
	if result := <-first; result.Value != 1 || result.Fill.Stored {
		t.Fatal(result)
	}
	if result := must[larder.Result[int32]](t)(cache.Get(ctx, "k")); result.Value != 2 {
		t.Fatal(result)
	}
}

func TestFetchWithoutAValue(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{Namespaces: map[string]lardertest.Namespace{
		"test": {Origin: func(string, map[string]string) (*larderpb.Value, error) {
			return nil, nil
		}},
	}})
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	_, err := larder.Fetch[string](context.Background(), namespace, "k", nil)
	if !errors.Is(err, larder.ErrNoValue) {
		t.Fatal(err)
	}
	view := larder.Of[string](namespace)
	result := must[larder.Result[string]](t)(view.Get(context.Background(), "k"))
	if result.Outcome != larder.Negative {
		t.Fatal(result)
	}
}

func TestFetchWithACodec(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	cache, ctx := larder.With(namespace, larder.JSON[[]byte]()), context.Background()
	for range 2 {
		value, err := cache.Fetch(ctx, "k", func(context.Context) ([]byte, error) {
			return []byte("v"), nil
		})
		if err != nil || string(value) != "v" {
			t.Fatal(value, err)
		}
	}
	encoded := larder.With(namespace, larder.Raw())
	raw := must[larder.Result[larder.Encoded]](t)(encoded.Get(ctx, "k"))
	if raw.Value.Kind != larder.KindJSON {
		t.Error(raw)
	}
	_, err := cache.Fetch(ctx, "missing", nil)
	if !errors.Is(err, larder.ErrNoValue) {
		t.Error(err)
	}
}

func TestTagsAreThoseOfTheTimeOfTheCall(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	tags := larder.TagsOption{"old"}
	cache, ctx := newCache[string](t, client, tags), context.Background()
	loaded := larder.NewLoaded("v", tags)
	tags[0] = "new"
	must[larder.Write](t)(cache.Set(ctx, "a", "v"))
	load := func(context.Context) (larder.Loaded[string], error) { return loaded, nil }
	must[larder.Result[string]](t)(cache.GetOrFetchLoaded(ctx, "b", load))
	for _, key := range []string{"a", "b"} {
		found := must[larder.Result[string]](t)(cache.Get(ctx, key))
		if len(found.Tags) != 1 || found.Tags[0] != "old" {
			t.Error(key, found.Tags)
		}
	}
}

func TestConcurrentCallsOfManyKeys(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	client := must[*larder.Client](t)(
		larder.New(server.Target, larder.WithPreset(larder.PresetLocal)))
	defer func() { _ = client.Close() }()
	cache := newCache[string](t, client, larder.NearCache{MaxEntries: 8})
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			ctx := context.Background()
			for i := range 100 {
				key := fmt.Sprint((worker + i) % 16)
				load := func(context.Context) (string, error) { return "v" + key, nil }
				result, err := cache.GetOrFetch(ctx, key, load)
				if err != nil || result.Value != "v"+key {
					t.Error(result, err)
					return
				}
				if i%10 == 0 {
					targets := larder.Targets{Keys: []string{key}}
					if _, err := cache.Invalidate(ctx, targets); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}
