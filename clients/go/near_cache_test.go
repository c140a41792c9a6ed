package larder_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	larder "larder.test/clients/go"
	"larder.test/clients/go/lardertest"
)

// near waits until a read is answered by the near cache.
func near[T any](t *testing.T, cache *larder.Cache[T], key string) {
	t.Helper()
	eventually(t, "a hit of the near cache", func() bool {
		result, err := cache.Get(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		return result.Tier == larder.TierClient
	})
}

func TestTheLeastRecentlyUsedEntriesGoFirst(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client, larder.NearCache{MaxEntries: 3}), context.Background()
	for _, key := range []string{"a", "b", "c", "d"} {
		must[larder.Write](t)(cache.Set(ctx, key, key))
	}
	for _, key := range []string{"a", "b", "c"} {
		near(t, cache, key)
	}
	near(t, cache, "a")
	near(t, cache, "d")
	for key, tier := range map[string]larder.Tier{"a": larder.TierClient, "c": larder.TierClient} {
		if result := must[larder.Result[string]](t)(cache.Get(ctx, key)); result.Tier != tier {
			t.Error(key, result.Tier)
		}
	}
	result := must[larder.Result[string]](t)(cache.Get(ctx, "b"))
	if result.Tier != larder.TierStore {
		t.Error("b", result.Tier)
	}
	if entries, _ := larder.NearSize(cache.Namespace); entries != 3 {
		t.Error(entries)
	}
}

func TestTheNearCacheIsBoundedByBytes(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client, larder.NearCache{MaxBytes: 5000})
	ctx := context.Background()
	for i := range 20 {
		key := fmt.Sprint(i)
		must[larder.Write](t)(cache.Set(ctx, key, strings.Repeat("x", 1000)))
		near(t, cache, key)
	}
	entries, bytes := larder.NearSize(cache.Namespace)
	if entries != 3 || bytes > 5000 || bytes < 3000 {
		t.Error(entries, bytes)
	}
	must[larder.Write](t)(cache.Set(ctx, "large", strings.Repeat("x", 6000)))
	for range 3 {
		result := must[larder.Result[string]](t)(cache.Get(ctx, "large"))
		if result.Tier != larder.TierStore {
			t.Error(result.Tier)
		}
	}
	must[larder.Invalidation](t)(cache.InvalidateNamespace(ctx))
	if entries, bytes := larder.NearSize(cache.Namespace); entries != 0 || bytes != 0 {
		t.Error(entries, bytes)
	}
}

func TestAllThatAnEntryTakesCounts(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	ctx := context.Background()
	shared := must[*larder.Namespace](t)(client.Namespace("test", larder.NearCache{Shared: true}))
	size := func(namespace *larder.Namespace) int {
		_, bytes := larder.NearSize(namespace)
		return bytes
	}
	maps := larder.Of[map[string]int](shared)
	value := map[string]int{}
	for i := range 1000 {
		value[fmt.Sprintf("%03d", i)] = 1
	}
	must[larder.Write](t)(maps.Set(ctx, "maps", value))
	near(t, maps, "maps")
	// 8 bytes each as JSON; as a map, at least a header of text and a number in addition.
	if bytes := size(shared); bytes < 1000*(8+16+8) {
		t.Error(bytes, "bytes of maps")
	}
	must[larder.Invalidation](t)(shared.InvalidateNamespace(ctx))
	texts := larder.Of[string](shared)
	must[larder.Write](t)(texts.Set(ctx, "text", strings.Repeat("x", 10_000)))
	near(t, texts, "text")
	if bytes := size(shared); bytes < 10_000 || bytes > 11_000 {
		t.Error(bytes, "bytes of text")
	}
	tags := make([]string, 30)
	for i := range tags {
		tags[i] = fmt.Sprint(i, strings.Repeat("x", 100))
	}
	must[larder.Write](t)(texts.Set(ctx, "text", "x", larder.Tags(tags...)))
	near(t, texts, "text")
	if bytes := size(shared); bytes < 3000 || bytes > 5000 {
		t.Error(bytes, "bytes of tags")
	}
	// A value that leads to itself is no end of the process.
	type node struct {
		Next *node
		name string
	}
	cycle := &node{name: strings.Repeat("x", 100)}
	cycle.Next = cycle
	if bytes := larder.Footprint(cycle); bytes < 100 || bytes > 200 {
		t.Error(bytes, "bytes of a cycle")
	}
	list := make([]any, 2)
	list[0], list[1] = list, strings.Repeat("x", 100)
	if bytes := larder.Footprint(list); bytes < 100 || bytes > 300 {
		t.Error(bytes, "bytes of a cycle")
	}
}

func TestAResetEmptiesTheNearCache(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client, larder.NearCache{}), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", "v"))
	near(t, cache, "k")
	fake.ResetWatches()
	eventually(t, "a read of the store", func() bool {
		entries, _ := larder.NearSize(cache.Namespace)
		return entries == 0
	})
	near(t, cache, "k")
	fake.BreakWatches()
	eventually(t, "a read of the store", func() bool {
		result := must[larder.Result[string]](t)(cache.Get(ctx, "k"))
		return result.Tier == larder.TierStore
	})
	near(t, cache, "k")
}

func TestAFeedThatTheServerHasRefusedIsOpenedAgain(t *testing.T) {
	log := &lines{}
	fake, client := lardertest.Start(t, lardertest.Config{},
		larder.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	cache, ctx := newCache[string](t, client, larder.NearCache{}), context.Background()
	larder.PauseFeed(cache.Namespace, 20*time.Millisecond)
	must[larder.Write](t)(cache.Set(ctx, "k", "v"))
	for times := 1; times <= 2; times++ {
		before := len(fake.Calls("Watch"))
		fake.Fail(lardertest.Failure{Code: codes.PermissionDenied, Methods: []string{"Watch"}})
		fake.BreakWatches()
		eventually(t, "refused streams", func() bool {
			must[larder.Result[string]](t)(cache.Get(ctx, "k"))
			return len(fake.Calls("Watch")) >= before+3
		})
		if count := log.count("no near cache"); count != times {
			t.Error(count, "lines of the log, not", times)
		}
		fake.Recover()
		near(t, cache, "k")
	}
}

func TestASilentFeedIsNotUsed(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{
		Config: "[defaults]\nttl_jitter = 0.0\n" +
			"[watch]\nheartbeat = \"200ms\"\nmax_delay = \"300ms\"\n",
	})
	client := must[*larder.Client](t)(larder.New(server.Target,
		larder.WithCallTimeout(100*time.Millisecond)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client, larder.NearCache{}), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", "v"))
	near(t, cache, "k")
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	eventually(t, "a miss", func() bool {
		result := must[larder.Result[string]](t)(cache.Get(ctx, "k"))
		return result.Outcome == larder.Miss && result.Degraded
	})
	if took := time.Since(stopped); took > 2*time.Second {
		t.Error("stale for", took)
	}
	if err := server.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	near(t, cache, "k")
}

func TestValuesOfTheNearCacheCannotBeChanged(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	ctx := context.Background()
	namespace := must[*larder.Namespace](t)(client.Namespace("test", larder.NearCache{}))
	data := larder.Of[[]byte](namespace)
	must[larder.Write](t)(data.Set(ctx, "bytes", []byte("abc")))
	near(t, data, "bytes")
	for range 3 {
		result := must[larder.Result[[]byte]](t)(data.Get(ctx, "bytes"))
		if string(result.Value) != "abc" || result.Tier != larder.TierClient {
			t.Fatal(string(result.Value), result.Tier)
		}
		result.Value[0] = 'x'
	}
	type item struct{ Names []string }
	items := larder.Of[item](namespace)
	must[larder.Write](t)(items.Set(ctx, "item", item{[]string{"a"}}))
	near(t, items, "item")
	for range 3 {
		result := must[larder.Result[item]](t)(items.Get(ctx, "item"))
		if result.Value.Names[0] != "a" || result.Tier != larder.TierClient {
			t.Fatal(result)
		}
		result.Value.Names[0] = "x"
	}
	// A view with another type reads the same entry.
	other := must[larder.Result[any]](t)(larder.Of[any](namespace).Get(ctx, "item"))
	if fmt.Sprint(other.Value) != "map[Names:[a]]" || other.Tier != larder.TierClient {
		t.Fatal(other)
	}
}

// TestNoReadIsOlderThanAnOwnWrite races reads with writes of the same client.
func TestNoReadIsOlderThanAnOwnWrite(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	client := must[*larder.Client](t)(
		larder.New(server.Target, larder.WithPreset(larder.PresetLocal)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[int64](t, client, larder.NearCache{}), context.Background()
	must[larder.Write](t)(cache.Set(ctx, "k", 0))
	near(t, cache, "k")
	var written atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := written.Load()
				result, err := cache.Get(ctx, "k")
				if err != nil || result.Value < least {
					t.Errorf("%d after %d (%v, %v)", result.Value, least, result.Tier, err)
					return
				}
			}
		})
	}
	for i := int64(1); i <= 100; i++ {
		must[larder.Write](t)(cache.Set(ctx, "k", i))
		written.Store(i)
	}
	close(stop)
	all.Wait()
	if hits := client.Counters()["test"].NearHits; hits == 0 {
		t.Error("the near cache was not used")
	}
}

func TestAWriteOfAnotherClientArrives(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	clients := [2]*larder.Client{}
	for i := range clients {
		clients[i] = must[*larder.Client](t)(larder.New(server.Target))
		defer func() { _ = clients[i].Close() }()
	}
	reader := newCache[int64](t, clients[0], larder.NearCache{})
	writer, ctx := newCache[int64](t, clients[1]), context.Background()
	must[larder.Write](t)(writer.Set(ctx, "k", 0))
	for i := int64(1); i <= 20; i++ {
		near(t, reader, "k")
		must[larder.Write](t)(writer.Set(ctx, "k", i))
		acknowledged := time.Now()
		eventually(t, "the write arrives", func() bool {
			return must[larder.Result[int64]](t)(reader.Get(ctx, "k")).Value == i
		})
		if took := time.Since(acknowledged); took > 2*time.Second {
			t.Fatal("stale for", took)
		}
	}
}

// TestAFeedThatBecomesReadyDuringABatch has no entries of reads that did not ask for consistency.
func TestAFeedThatBecomesReadyDuringABatch(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client, larder.NearCache{})
	flips, end := larder.FlipFeed(cache.Namespace)
	defer end()
	keys := make([]string, 50)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	for flips() < 1_000_000 {
		if begun := larder.NearBegin(cache.Namespace, keys); begun != 0 && begun != len(keys) {
			t.Fatal(begun, "of", len(keys), "reads")
		}
		if count := larder.NearPending(cache.Namespace); count != 0 {
			t.Fatal(count, "reads under way")
		}
	}
}
