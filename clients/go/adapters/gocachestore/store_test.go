package gocachestore_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eko/gocache/lib/v4/cache"
	"github.com/eko/gocache/lib/v4/marshaler"
	"github.com/eko/gocache/lib/v4/store"

	larder "larder.test/clients/go"
	"larder.test/clients/go/adapters/gocachestore"
	"larder.test/clients/go/lardertest"
)

type user struct {
	Name string
	Age  int
}

var ctx = context.Background()

func newStore[T any](t *testing.T, namespace string) *gocachestore.Store[T] {
	t.Helper()
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	client, err := larder.New(server.Target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	made, err := gocachestore.New[T](client, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func missing(t *testing.T, users cache.CacheInterface[user], key any) {
	t.Helper()
	if value, err := users.Get(ctx, key); !errors.Is(err, &store.NotFound{}) {
		t.Errorf("%v: %v, %v", key, value, err)
	}
}

func TestCache(t *testing.T) {
	users := cache.New[user](newStore[user](t, "users").WithDefaults(store.WithExpiration(time.Hour)))
	missing(t, users, "a")
	ada := user{"Ada", 36}
	check(t, users.Set(ctx, "a", ada))
	got, ttl, err := users.GetWithTTL(ctx, "a")
	if err != nil || got != ada || ttl > time.Hour || ttl < 59*time.Minute {
		t.Error(got, ttl, err)
	}
	check(t, users.Set(ctx, "a", ada, store.WithExpiration(-time.Second)))
	missing(t, users, "a")

	// Keys that are no text are digests.
	type id struct{ number int }
	check(t, users.Set(ctx, id{7}, ada, store.WithTags([]string{"team"})))
	check(t, users.Set(ctx, "b", ada, store.WithTags([]string{"team", "other"})))
	check(t, users.Set(ctx, "c", ada))
	check(t, users.Invalidate(ctx, store.WithInvalidateTags([]string{"team"})))
	missing(t, users, id{7})
	missing(t, users, "b")
	check(t, users.Invalidate(ctx))
	if got, err := users.Get(ctx, "c"); err != nil || got != ada {
		t.Error(got, err)
	}
	for range 2 {
		check(t, users.Delete(ctx, "c"))
	}
	missing(t, users, "c")
	check(t, users.Set(ctx, "d", ada))
	check(t, users.Clear(ctx))
	missing(t, users, "d")
}

func TestKindsOfValues(t *testing.T) {
	values := cache.New[any](newStore[any](t, "values"))
	for key, value := range map[string]any{"text": "a", "number": int64(7), "yes": true, "nil": nil} {
		check(t, values.Set(ctx, key, value))
		if got, err := values.Get(ctx, key); err != nil || got != value {
			t.Error(key, got, err)
		}
	}
	packed, read := marshaler.New(values), user{}
	check(t, packed.Set(ctx, "u", user{"Ada", 36}))
	if _, err := packed.Get(ctx, "u", &read); err != nil || read.Name != "Ada" {
		t.Error(read, err)
	}
	stored := newStore[string](t, "texts")
	if err := stored.Set(ctx, "k", 7); err == nil {
		t.Error("a number is text")
	}
	if err := stored.Set(ctx, "k", nil); err == nil {
		t.Error("nil is text")
	}
	if err := newStore[user](t, "users").Set(ctx, "k", nil); err == nil {
		t.Error("nil is a struct")
	}
	if err := newStore[*user](t, "users").Set(ctx, "k", nil); err != nil {
		t.Error(err)
	}
	if err := stored.Set(ctx, 7, "v"); err == nil {
		t.Error("the key is a number")
	}
}

func TestALoadableCacheAndAChain(t *testing.T) {
	var loads atomic.Int32
	shared := cache.New[user](newStore[user](t, "users"))
	users := cache.NewLoadable(
		func(context.Context, any) (user, []store.Option, error) {
			loads.Add(1)
			return user{"Ada", 36}, []store.Option{store.WithExpiration(time.Minute)}, nil
		}, cache.NewChain[user](shared))
	if got, err := users.Get(ctx, "a"); err != nil || got.Name != "Ada" {
		t.Error(got, err)
	}
	// It stores in the background, until then.
	check(t, users.Close())
	if got, err := shared.Get(ctx, "a"); err != nil || got.Age != 36 || loads.Load() != 1 {
		t.Error(got, err, loads.Load())
	}
}

func TestAnOutageIsNoMiss(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	stored, err := gocachestore.New[string](client, "values")
	check(t, err)
	fake.Degrade()
	if _, err := stored.Get(ctx, "k"); err == nil || errors.Is(err, &store.NotFound{}) {
		t.Error(err)
	}
	if err := stored.Set(ctx, "k", "v"); err == nil {
		t.Error("Set is no error")
	}
	fake.Recover()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := stored.Set(ended, "k", "v"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A value of another form is not found, with the reason.
	if _, err := larder.Of[[]int](namespaceOf(t, client)).Set(ctx, "k", []int{1}); err != nil {
		t.Fatal(err)
	}
	var undecodable *larder.DecodeError
	if _, err := stored.Get(ctx, "k"); !errors.Is(err, &store.NotFound{}) ||
		!errors.As(err, &undecodable) {
		t.Error(err)
	}
}

func namespaceOf(t *testing.T, client *larder.Client) *larder.Namespace {
	t.Helper()
	namespace, err := client.Namespace("values")
	check(t, err)
	return namespace
}

func TestOptionsOfTheCallerAreNotChanged(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	all := []larder.NamespaceOption{larder.TTL(time.Hour), nil}
	if _, err := gocachestore.New[string](client, "options", all[:1]...); err != nil {
		t.Fatal(err)
	}
	if all[1] != nil {
		t.Error("the next option is another one")
	}
}
