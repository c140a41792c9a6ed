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
