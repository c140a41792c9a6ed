package polyglot

// GetOrFetch with the origin ../origins/http_origin.py.

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	pb "larder.test/polyglot/gen/larder/v1"
)

const readThrough = "origin-http"

// needOrigin skips a test unless the server has the HTTP origin that tests/polyglot.sh starts.
func needOrigin(t *testing.T) {
	t.Helper()
	if !slices.Contains(strings.Fields(os.Getenv("LARDER_ORIGINS")), "http") {
		t.Skip("the server has no HTTP origin")
	}
}

// named returns a unique key. Its prefix selects the origin's response.
func named(what string) string { return what + "-go-" + unique() }

func batchGetOrFetch(t *testing.T, keys []*pb.KeyRef) []*pb.BatchGetOrFetchResult {
	t.Helper()
	stream, err := larder.BatchGetOrFetch(t.Context(), &pb.BatchGetOrFetchRequest{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	var results []*pb.BatchGetOrFetchResult
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return results
		}
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, chunk.Results...)
	}
}

func TestReadThrough(t *testing.T) {
	needOrigin(t)
	request := &pb.GetOrFetchRequest{
		Namespace: readThrough, Key: named("value"), Params: map[string]string{"page": "2"},
	}
	want := "/" + request.Key + "?page=2#1"
	first := call(t, larder.GetOrFetch, request)
	equal(t, "value", first.GetFound().GetValue().GetText(), want)
	equal(t, "fetch_status", first.FetchStatus, pb.FetchStatus_FETCH_STATUS_FETCHED)
	equal(t, "fill", first.Fill, pb.FillResult_FILL_RESULT_STORED)
	equal(t, "tier", first.GetFound().Entry.Tier, pb.Tier_TIER_ORIGIN)
	again := call(t, larder.GetOrFetch, request)
	equal(t, "value", again.GetFound().GetValue().GetText(), want)
	equal(t, "fetch_status", again.FetchStatus, pb.FetchStatus_FETCH_STATUS_UNSPECIFIED)

	missing := call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: readThrough, Key: named("missing")})
	equal(t, "outcome", missing.GetFound().GetOutcome(), pb.Outcome_OUTCOME_NEGATIVE)
}

func TestOriginFailureIsAnError(t *testing.T) {
	needOrigin(t)
	request := &pb.GetOrFetchRequest{Namespace: readThrough, Key: named("broken")}
	_, info := refusal(t, codes.Unavailable, larder.GetOrFetch, request)
	equal(t, "reason", info.Reason, "ORIGIN_FAILED")
	equal(t, "origin", info.Metadata["origin"], readThrough)
}

func TestBatchReadsThrough(t *testing.T) {
	needOrigin(t)
	var keys []*pb.KeyRef
	for _, what := range []string{"value", "missing", "broken", "value"} {
		keys = append(keys, &pb.KeyRef{Namespace: readThrough, Key: named(what)})
	}
	results := batchGetOrFetch(t, keys)
	equal(t, "results", len(results), len(keys))
	for _, place := range []int{0, 3} {
		text := results[place].GetAnswer().GetFound().GetValue().GetText()
		equal(t, keys[place].Key, text, "/"+keys[place].Key+"#1")
	}
	equal(t, "missing", results[1].GetAnswer().GetFound().GetOutcome(), pb.Outcome_OUTCOME_NEGATIVE)
	equal(t, "broken", results[2].GetError().GetReason(), "ORIGIN_FAILED")
}

func TestBatchGrantsLeases(t *testing.T) {
	namespace := newNamespace()
	call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "there", Value: text("here")})
	results := batchGetOrFetch(t, []*pb.KeyRef{{Namespace: namespace, Key: "there"}, {Namespace: namespace, Key: "k"}})
	equal(t, "results", len(results), 2)
	equal(t, "value", results[0].GetAnswer().GetFound().GetValue().GetText(), "here")
	token := results[1].GetAnswer().GetLease().GetToken()
	equal(t, "fill", fill(t, namespace, "k", token, "x").Result, pb.SetResult_SET_RESULT_STORED)
}
