package larder_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
	"larder.test/clients/go/lardertest"
)

// leaseOf is the answer of a server that grants a lease.
func leaseOf(key string) *larderpb.BatchGetOrFetchResult {
	return &larderpb.BatchGetOrFetchResult{Result: &larderpb.BatchGetOrFetchResult_Answer{
		Answer: &larderpb.GetOrFetchResponse{Outcome: &larderpb.GetOrFetchResponse_Lease{
			Lease: &larderpb.Lease{
				Token: []byte(key), ExpiresIn: durationpb.New(time.Minute),
			},
		}},
	}}
}

func TestTheLeasesOfAnAnswerThatBreaksOff(t *testing.T) {
	for _, onError := range []larder.OnError{larder.FailOpen, larder.Raise} {
		server := &scripted{batch: func(stream larderpb.CacheService_BatchGetOrFetchServer) error {
			first := []*larderpb.BatchGetOrFetchResult{leaseOf("a"), leaseOf("b")}
			if err := stream.Send(&larderpb.BatchGetOrFetchResponse{Results: first}); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "broken")
		}}
		client := must[*larder.Client](t)(larder.New(server.serve(t)))
		cache := newCache[string](t, client, onError)
		results, err := cache.GetOrFetchMany(context.Background(), []string{"a", "b", "c"}, loadsMany)
		if count := server.count("BatchGetOrFetch"); count != 1 {
			t.Error("asked", count, "times: the second call waits for the leases of the first")
		}
		if onError == larder.Raise {
			if !errors.Is(err, larder.ErrUnavailable) {
				t.Error(err)
			}
			eventually(t, "the leases are passed on", func() bool {
				return len(server.passedOn()) == 2
			})
		} else {
			if err != nil || !results["a"].Fill.Stored || !results["c"].Degraded ||
				results["c"].Value != "of c" {
				t.Error(results, err)
			}
			if !slices.Equal(server.filled, []string{"a", "b"}) {
				t.Error(server.filled)
			}
		}
		_ = client.Close()
	}
}

// TestAStaleValueBesideOtherAnswers has answers without a lease before one with a stale value.
func TestAStaleValueBesideOtherAnswers(t *testing.T) {
	stale := leaseOf("b")
	lease := stale.GetAnswer().GetLease()
	lease.StaleWhileRevalidate = true
	lease.Stale = &larderpb.Found{
		Outcome: larderpb.Outcome_OUTCOME_STALE,
		Value:   &larderpb.Value{Kind: &larderpb.Value_Text{Text: "old"}},
	}
	server := &scripted{batch: func(stream larderpb.CacheService_BatchGetOrFetchServer) error {
		failed := &larderpb.BatchGetOrFetchResult{Result: &larderpb.BatchGetOrFetchResult_Error{
			Error: &larderpb.FetchError{Reason: "STORE_UNAVAILABLE", Message: "away"},
		}}
		return stream.Send(&larderpb.BatchGetOrFetchResponse{
			Results: []*larderpb.BatchGetOrFetchResult{failed, failed, failed, stale},
		})
	}}
	client := must[*larder.Client](t)(larder.New(server.serve(t)))
	defer func() { _ = client.Close() }()
	results := must[map[string]larder.Result[string]](t)(newCache[string](t, client).GetOrFetchMany(
		context.Background(), []string{"x", "y", "z", "b"}, loadsMany))
	if results["b"].Value != "old" || results["x"].Value != "of x" || !results["x"].Degraded {
		t.Error(results)
	}
	eventually(t, "the new value is stored", func() bool { return server.count("BatchSet") == 1 })
}

func TestAnErrorOfOneKeyGivesTheLeasesOfTheOthersUp(t *testing.T) {
	server := &scripted{batch: func(stream larderpb.CacheService_BatchGetOrFetchServer) error {
		failed := &larderpb.BatchGetOrFetchResult{Result: &larderpb.BatchGetOrFetchResult_Error{
			Error: &larderpb.FetchError{Reason: "STORE_UNAVAILABLE", Message: "away"},
		}}
		return stream.Send(&larderpb.BatchGetOrFetchResponse{
			Results: []*larderpb.BatchGetOrFetchResult{leaseOf("a"), failed, leaseOf("c")},
		})
	}}
	client := must[*larder.Client](t)(larder.New(server.serve(t)))
	defer func() { _ = client.Close() }()
	cache := newCache[string](t, client, larder.Raise)
	_, err := cache.GetOrFetchMany(context.Background(), []string{"a", "b", "c"}, loadsMany)
	if !errors.Is(err, larder.ErrUnavailable) {
		t.Fatal(err)
	}
	eventually(t, "the leases are passed on", func() bool { return len(server.passedOn()) == 2 })
}

func TestValuesOfABatchThatStayUndecodableAreComputed(t *testing.T) {
	server := &scripted{batch: func(stream larderpb.CacheService_BatchGetOrFetchServer) error {
		found := &larderpb.BatchGetOrFetchResult{Result: &larderpb.BatchGetOrFetchResult_Answer{
			Answer: &larderpb.GetOrFetchResponse{Outcome: &larderpb.GetOrFetchResponse_Found{
				Found: &larderpb.Found{
					Outcome: larderpb.Outcome_OUTCOME_HIT,
					Value:   &larderpb.Value{Kind: &larderpb.Value_Json{Json: "[]"}},
				},
			}},
		}}
		return stream.Send(&larderpb.BatchGetOrFetchResponse{
			Results: []*larderpb.BatchGetOrFetchResult{found},
		})
	}}
	client := must[*larder.Client](t)(larder.New(server.serve(t)))
	defer func() { _ = client.Close() }()
	results := must[map[string]larder.Result[string]](t)(newCache[string](t, client).GetOrFetchMany(
		context.Background(), []string{"k"}, loadsMany))
	var undecodable *larder.DecodeError
	found := results["k"]
	if found.Value != "of k" || found.Fill.Stored || !errors.As(found.Fill.Err, &undecodable) {
		t.Error(found)
	}
	if count := server.count("BatchGetOrFetch"); count != 2 {
		t.Error("asked", count, "times")
	}
}

func TestABatchReadsAndFillsTheNearCache(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client, larder.NearCache{}), context.Background()
	keys := []string{"a", "b"}
	must[map[string]larder.Write](t)(cache.SetMany(ctx, map[string]string{"a": "1", "b": "2"}))
	all := func(options ...larder.FetchManyOption) map[string]larder.Result[string] {
		t.Helper()
		return must[map[string]larder.Result[string]](t)(
			cache.GetOrFetchMany(ctx, keys, loadsMany, options...))
	}
	all()
	eventually(t, "the feed", func() bool { return larder.NearReady(cache.Namespace) })
	all()
	for _, key := range keys {
		found := must[larder.Result[string]](t)(cache.Get(ctx, key))
		if found.Tier != larder.TierClient {
			t.Error(key, found.Tier, "after a batch")
		}
	}
	before := len(fake.Calls("BatchGetOrFetch"))
	if found := all(); found["b"].Value != "2" || found["b"].Tier != larder.TierClient {
		t.Error(found)
	}
	if count := len(fake.Calls("BatchGetOrFetch")); count != before {
		t.Error(count-before, "calls")
	}
	if found := all(larder.Refresh()); found["b"].Value != "of b" || !found["b"].Fill.Stored {
		t.Error(found)
	}
	if found := all(); found["b"].Value != "of b" {
		t.Error(found)
	}
	if count := larder.NearPending(cache.Namespace); count != 0 {
		t.Error(count, "reads under way")
	}
}

func TestLeasesOfValuesWithoutALifetimeAreNotLeftBehind(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	cache := larder.With(namespace, &hooked{encode: func(value string) {
		if value == "panics" {
			panic("boom")
		}
	}})
	ctx := context.Background()
	load := func(context.Context, []string) (map[string]larder.Loaded[string], error) {
		return map[string]larder.Loaded[string]{
			"a": larder.NewLoaded("v", larder.TTL(0)), "b": larder.NewLoaded("panics"),
		}, nil
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = cache.GetOrFetchManyLoaded(ctx, []string{"a", "b"}, load)
	}()
	eventually(t, "the leases are passed on", func() bool { return passedOn(fake) == 2 })
	fake.Fail(lardertest.Failure{Methods: []string{"BatchDelete", "Delete"}})
	many := must[map[string]larder.Result[string]](t)(
		cache.GetOrFetchMany(ctx, []string{"c"}, loadsMany, larder.TTL(0)))
	if many["c"].Fill.Reason != larder.Expired {
		t.Error(many)
	}
	one := must[larder.Result[string]](t)(cache.GetOrFetch(ctx, "d", loads("v"), larder.TTL(0)))
	if one.Fill.Reason != larder.Expired {
		t.Error(one)
	}
	eventually(t, "the leases are passed on", func() bool { return passedOn(fake) == 4 })
}

func TestTheTagsOfAComputedValueAreThoseOfItsEntry(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client, larder.Tags("h", "b")), context.Background()
	load := func(context.Context) (larder.Loaded[string], error) {
		return larder.NewLoaded("v", larder.Tags("c", "a")), nil
	}
	one := must[larder.Result[string]](t)(cache.GetOrFetchLoaded(ctx, "k", load, larder.Tags("b")))
	many := must[map[string]larder.Result[string]](t)(
		cache.GetOrFetchMany(ctx, []string{"m"}, loadsMany, larder.Tags("a")))
	entry := must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	for _, each := range []struct{ got, want []string }{
		{one.Tags, []string{"a", "b", "c", "h"}}, {many["m"].Tags, []string{"a", "b", "h"}},
		{entry.Tags, []string{"a", "b", "c", "h"}},
	} {
		if !slices.Equal(each.got, each.want) {
			t.Error(each)
		}
	}
}
