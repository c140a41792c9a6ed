package larder_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	larder "larder.test/clients/go"
	"larder.test/clients/go/lardertest"
)

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func TestAnOutageAndItsEndAreLoggedOnce(t *testing.T) {
	log := &lines{}
	fake, client := lardertest.Start(t, lardertest.Config{},
		larder.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	cache, ctx := newCache[string](t, client), context.Background()
	for range 2 {
		fake.Fail(lardertest.Failure{})
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if result, err := cache.Get(ctx, "k"); err != nil || !result.Degraded {
					t.Error(result, err)
				}
			})
		}
		all.Wait()
		fake.Recover()
		eventually(t, "the end of the outage", func() bool {
			return !must[larder.Result[string]](t)(cache.Get(ctx, "k")).Degraded
		})
		must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	}
	if away, back := log.count("is away"), log.count("answers again"); away != 2 || back != 2 {
		t.Error(away, back, log.text.String())
	}
}

func TestCallsThatFailDoNotKeepTheBreakerOpen(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", "v"))
	fake.Fail(lardertest.Failure{Methods: []string{"Delete"}})
	removes := func() {
		t.Helper()
		if _, err := cache.Delete(ctx, "other"); !errors.Is(err, larder.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	for range 5 {
		removes()
	}
	if result := must[larder.Result[string]](t)(cache.Get(ctx, "k")); !result.Degraded {
		t.Fatal(result)
	}
	eventually(t, "a read tries the server", func() bool {
		removes()
		return must[larder.Result[string]](t)(cache.Get(ctx, "k")).Value == "v"
	})
}

func TestAFailureInTheBackgroundIsLogged(t *testing.T) {
	log := &lines{}
	fake, client := lardertest.Start(t, lardertest.Config{
		Defaults: lardertest.Namespace{StaleWhileRevalidate: 1 << 40},
	}, larder.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	cache, ctx := newCache[string](t, client), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", "old", larder.TTL(1)))
	fake.Advance(1 << 30)
	load := func(context.Context) (string, error) { panic("boom") }
	result := must[larder.Result[string]](t)(cache.GetOrFetch(ctx, "k", load))
	if result.Outcome != larder.Stale || result.Value != "old" {
		t.Fatal(result)
	}
	eventually(t, "a line of the log", func() bool {
		return log.count("a stale value is not refreshed") == 1 && log.count("boom") > 0
	})
}
