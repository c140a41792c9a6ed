package polyglot

// GetOrFetch with leases: one caller computes the value, and the others wait for it.

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "larder.test/polyglot/gen/larder/v1"
)

var noWait = durationpb.New(0)

func lease(t *testing.T, namespace, key string) *pb.Lease {
	t.Helper()
	answer := call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: key})
	if answer.GetLease() == nil {
		t.Fatalf("got %v, want a lease", answer)
	}
	return answer.GetLease()
}

func fill(t *testing.T, namespace, key string, token []byte, value string) *pb.SetResponse {
	t.Helper()
	return call(t, larder.Set, &pb.SetRequest{
		Namespace: namespace, Key: key, Value: text(value), LeaseToken: token,
	})
}

func TestOneCallerComputes(t *testing.T) {
	namespace := newNamespace()
	params := map[string]string{"page": "1"}
	answers := make(chan *pb.GetOrFetchResponse, 2)
	for range 2 {
		go func() {
			answer, err := larder.GetOrFetch(t.Context(), &pb.GetOrFetchRequest{
				Namespace: namespace, Key: "k", Params: params, Wait: durationpb.New(10 * time.Second),
			})
			if err != nil {
				t.Error(err)
			}
			answers <- answer
		}()
	}
	granted := (<-answers).GetLease()
	if len(granted.GetToken()) == 0 {
		t.Fatal("the first answer is not a lease")
	}
	between(t, "expires_in", 0, granted.ExpiresIn, 10*time.Second)
	if len(answers) != 0 {
		t.Fatalf("the second caller did not wait: %v", <-answers)
	}

	landed := time.Now()
	filled := call(t, larder.Set, &pb.SetRequest{
		Namespace: namespace, Key: "k", Params: params, Value: text("computed"), LeaseToken: granted.Token,
	})
	equal(t, "fill", filled.Result, pb.SetResult_SET_RESULT_STORED)
	found := (<-answers).GetFound()
	equal(t, "outcome", found.GetOutcome(), pb.Outcome_OUTCOME_HIT)
	equal(t, "value", found.Value.GetText(), "computed")
	equal(t, "version", found.Entry.Version, filled.Version)
	if late := time.Since(landed); late > 2*time.Second {
		t.Fatalf("the waiting caller received the value %v after it was stored", late)
	}
}

func TestFoundAtOnce(t *testing.T) {
	namespace := newNamespace()
	call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "k", Value: text("here")})
	found := call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: "k"}).GetFound()
	equal(t, "outcome", found.GetOutcome(), pb.Outcome_OUTCOME_HIT)
	equal(t, "value", found.GetValue().GetText(), "here")
}

func TestNoWaitIsContended(t *testing.T) {
	namespace := newNamespace()
	lease(t, namespace, "k")
	answer := call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: "k", Wait: noWait})
	between(t, "retry_after", 0, answer.GetContended().GetRetryAfter(), time.Minute)
}

func TestAbandon(t *testing.T) {
	namespace := newNamespace()
	first := lease(t, namespace, "k")
	abandon := &pb.AbandonRequest{
		Namespace: namespace, Key: "k", LeaseToken: first.Token, Reason: "origin is down",
	}
	call(t, larder.Abandon, abandon)
	during := call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: "k", Wait: noWait})
	if during.GetContended() == nil {
		t.Fatalf("got %v during the back-off, want contended", during)
	}
	lost := fill(t, namespace, "k", first.Token, "x")
	equal(t, "fill with the abandoned lease", lost.Result, pb.SetResult_SET_RESULT_LEASE_LOST)

	// A caller that asks again after the back-off of 1 s is granted the next lease.
	equal(t, "status during the back-off", during.FetchStatus, pb.FetchStatus_FETCH_STATUS_FAILED)
	equal(t, "cause during the back-off", during.Cause, "origin is down")
	time.Sleep(during.GetContended().RetryAfter.AsDuration())
	second := lease(t, namespace, "k")
	if bytes.Equal(second.Token, first.Token) {
		t.Fatal("the second lease has the token of the first")
	}
	call(t, larder.Abandon, abandon)
	filled := fill(t, namespace, "k", second.Token, "x")
	equal(t, "fill after a lost lease was abandoned again", filled.Result, pb.SetResult_SET_RESULT_STORED)
}

func TestRefusedFills(t *testing.T) {
	namespace := newNamespace()
	get := func(key string) *pb.GetResponse {
		return call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: key})
	}

	token := lease(t, namespace, "written").Token
	call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "written", Value: text("newer")})
	refused := fill(t, namespace, "written", token, "outdated")
	equal(t, "after a Set", refused.Result, pb.SetResult_SET_RESULT_SUPERSEDED)
	equal(t, "version", refused.Version, "")
	equal(t, "value", get("written").Value.GetText(), "newer")

	token = lease(t, namespace, "deleted").Token
	call(t, larder.Delete, &pb.DeleteRequest{Namespace: namespace, Key: "deleted"})
	refused = fill(t, namespace, "deleted", token, "outdated")
	equal(t, "after a Delete", refused.Result, pb.SetResult_SET_RESULT_INVALIDATED)

	token = lease(t, namespace, "filled").Token
	equal(t, "first fill", fill(t, namespace, "filled", token, "x").Result, pb.SetResult_SET_RESULT_STORED)
	again := fill(t, namespace, "filled", token, "x")
	equal(t, "second fill with the same lease", again.Result, pb.SetResult_SET_RESULT_LEASE_LOST)

	token = lease(t, namespace, "invalidated").Token
	call(t, larder.InvalidateNamespace, &pb.InvalidateNamespaceRequest{Namespace: namespace})
	refused = fill(t, namespace, "invalidated", token, "outdated")
	equal(t, "after InvalidateNamespace", refused.Result, pb.SetResult_SET_RESULT_INVALIDATED)

	for _, key := range []string{"deleted", "invalidated"} {
		equal(t, key, get(key).Outcome, pb.Outcome_OUTCOME_MISS)
	}
}

func TestStale(t *testing.T) {
	// tests/polyglot.sh configures stale_while_revalidate for the namespace `stale`.
	const namespace = "stale"
	key := "go-" + unique()
	request := &pb.GetRequest{Namespace: namespace, Key: key}
	call(t, larder.Set, &pb.SetRequest{
		Namespace: namespace, Key: key, Value: text("old"), Ttl: durationpb.New(50 * time.Millisecond),
	})
	stale := eventually(t, func() (*pb.GetResponse, bool) {
		got := call(t, larder.Get, request)
		return got, got.Outcome != pb.Outcome_OUTCOME_HIT
	})
	equal(t, "outcome", stale.Outcome, pb.Outcome_OUTCOME_STALE)
	equal(t, "value", stale.Value.GetText(), "old")
	equal(t, "remaining TTL", stale.Entry.TtlRemaining.AsDuration(), 0)
	strict := &pb.GetRequest{Namespace: namespace, Key: key, MaxStale: durationpb.New(0)}
	equal(t, "max_stale tightens the window", call(t, larder.Get, strict).Outcome, pb.Outcome_OUTCOME_MISS)

	granted := lease(t, namespace, key)
	equal(t, "lease.stale", granted.GetStale().GetValue().GetText(), "old")
	other := call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: key}).GetFound()
	equal(t, "callers do not wait for a refresh", other.GetOutcome(), pb.Outcome_OUTCOME_STALE)
	equal(t, "value during the refresh", other.Value.GetText(), "old")
	equal(t, "fill", fill(t, namespace, key, granted.Token, "new").Result, pb.SetResult_SET_RESULT_STORED)
	equal(t, "value", call(t, larder.Get, request).Value.GetText(), "new")
}
