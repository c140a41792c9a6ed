package polyglot

// Single entries: Get, Set, Delete, InvalidateNamespace, Touch, Increment.

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "larder.test/polyglot/gen/larder/v1"
)

// Tolerance for a replica's estimate of the store's clock.
const clocksDiffer = 50 * time.Millisecond

func TestKinds(t *testing.T) {
	namespace := newNamespace()
	values := map[string]*pb.Value{
		"data":  data([]byte{0x00, 0x01, 0xff}),
		"empty": data([]byte{}),
		"text":  text("grüße 👋"),
		// The document is returned byte for byte, including the whitespace.
		"json": jsonText("{ \"b\":1,\n \"a\" : [null, 1.0] }"),
	}
	for key, value := range values {
		stored := call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: key, Value: value})
		equal(t, key, stored.Result, pb.SetResult_SET_RESULT_STORED)
		got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: key})
		equal(t, key, got.Outcome, pb.Outcome_OUTCOME_HIT)
		equalMessage(t, key, got.Value, value)
		equal(t, "degraded", got.Degraded, false)
	}
}

func TestBinary(t *testing.T) {
	namespace := newNamespace()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, value := range [][]byte{every, bytes.Repeat(every, 3840)} { // 256 B and 1 MiB - 64 KiB
		call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "blob", Value: data(value)})
		got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "blob"})
		if !bytes.Equal(got.Value.GetData(), value) {
			t.Fatalf("got %d bytes, not the %d stored", len(got.Value.GetData()), len(value))
		}
	}
}

func TestKeys(t *testing.T) {
	namespace := newNamespace()
	// The two é are one character, and an e with a combining accent: keys are not normalised.
	keys := []string{
		"日本語", "🦀", "caf\u00e9", "cafe\u0301", "a\x00b", "\x00", "a:b", "{a}", "a b\n", strings.Repeat("x", 1024),
	}
	for _, key := range keys {
		call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: key, Value: text("value of " + key)})
	}
	for _, key := range keys {
		got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: key})
		equal(t, strconv.Quote(key), got.Value.GetText(), "value of "+key)
	}
}

func TestParams(t *testing.T) {
	namespace := newNamespace()
	get := func(params map[string]string) string {
		got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "list", Params: params})
		return got.Value.GetText()
	}
	set := func(params map[string]string, value string) {
		call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "list", Params: params, Value: text(value)})
	}
	params := map[string]string{"page": "2", "order": "desc", "ü": "🦀", "empty": ""}
	set(params, "with")
	// Go sends a map in random order.
	for range 8 {
		equal(t, "the same params", get(params), "with")
	}
	equal(t, "without params", get(nil), "")
	set(nil, "without")
	equal(t, "an empty map equals no params", get(map[string]string{}), "without")
	equal(t, "with params", get(params), "with")
	other := maps.Clone(params)
	delete(other, "empty")
	equal(t, "fewer params", get(other), "")
}

func TestTTL(t *testing.T) {
	namespace := newNamespace()
	const ttl = time.Second
	asked := time.Now()
	stored := call(t, larder.Set, &pb.SetRequest{
		Namespace: namespace, Key: "brief", Value: text("x"), Ttl: durationpb.New(ttl),
	})
	answered := time.Now()
	// The jitter shortens by at most a tenth.
	between(t, "applied TTL", ttl*9/10-time.Millisecond, stored.Ttl, ttl)
	applied := stored.Ttl.AsDuration()

	request := &pb.GetRequest{Namespace: namespace, Key: "brief"}
	got := call(t, larder.Get, request)
	equal(t, "outcome", got.Outcome, pb.Outcome_OUTCOME_HIT)
	between(t, "remaining TTL", 0, got.Entry.TtlRemaining, applied+clocksDiffer)
	eventually(t, func() (*pb.GetResponse, bool) {
		sent := time.Now()
		got := call(t, larder.Get, request)
		if got.Outcome == pb.Outcome_OUTCOME_HIT && sent.After(answered.Add(applied+clocksDiffer)) {
			t.Fatalf("outlived its TTL of %v by %v", applied, sent.Sub(answered)-applied)
		}
		return got, got.Outcome == pb.Outcome_OUTCOME_MISS
	})
	if lived := time.Since(asked); lived < applied-clocksDiffer {
		t.Fatalf("gone after %v, before its TTL of %v", lived, applied)
	}
}

func TestDefaultAndClampedTTL(t *testing.T) {
	request := &pb.SetRequest{Namespace: newNamespace(), Key: "k", Value: text("x")}
	between(t, "default", 27*time.Minute-1, call(t, larder.Set, request).Ttl, 30*time.Minute)
	request.Ttl = durationpb.New(365 * 24 * time.Hour)
	const week = 7 * 24 * time.Hour
	between(t, "clamped", week*9/10-1, call(t, larder.Set, request).Ttl, week)
}

func TestConditions(t *testing.T) {
	namespace := newNamespace()
	put := func(value string, condition *pb.SetRequest) *pb.SetResponse {
		condition.Namespace, condition.Key, condition.Value = namespace, "k", text(value)
		return call(t, larder.Set, condition)
	}
	ifAbsent := func() *pb.SetRequest { return &pb.SetRequest{Condition: &pb.SetRequest_IfAbsent{IfAbsent: true}} }
	ifPresent := func() *pb.SetRequest { return &pb.SetRequest{Condition: &pb.SetRequest_IfPresent{IfPresent: true}} }
	ifVersion := func(version string) *pb.SetRequest {
		return &pb.SetRequest{Condition: &pb.SetRequest_IfVersion{IfVersion: version}}
	}
	const stored, notMet = pb.SetResult_SET_RESULT_STORED, pb.SetResult_SET_RESULT_CONDITION_NOT_MET

	equal(t, "if_present, missing", put("a", ifPresent()).Result, notMet)
	first := put("b", ifAbsent())
	equal(t, "if_absent, missing", first.Result, stored)
	refused := put("c", ifAbsent())
	equal(t, "if_absent, there", refused.Result, notMet)
	equal(t, "version of a refused Set", refused.Version, "")
	equal(t, "if_version, current", put("d", ifVersion(first.Version)).Result, stored)
	equal(t, "if_version, outdated", put("e", ifVersion(first.Version)).Result, notMet)
	got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "k"})
	equal(t, "value", got.Value.GetText(), "d")
	equal(t, "if_present, there", put("f", ifPresent()).Result, stored)
}

func TestVersionsAndTags(t *testing.T) {
	namespace := newNamespace()
	versions := map[string]bool{}
	var last string
	for range 3 {
		last = call(t, larder.Set, &pb.SetRequest{
			Namespace: namespace, Key: "k", Value: text("x"), Tags: []string{"user:2", "blue", "team:7"},
		}).Version
		versions[last] = true
	}
	if len(versions) != 3 || versions[""] {
		t.Fatalf("every Set creates a new version, got %v", slices.Collect(maps.Keys(versions)))
	}
	entry := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "k"}).Entry
	equal(t, "version", entry.Version, last)
	equalSlices(t, "tags", entry.Tags, []string{"blue", "team:7", "user:2"})
	if entry.Tier != pb.Tier_TIER_STORE && entry.Tier != pb.Tier_TIER_NEAR {
		t.Fatalf("tier: got %v", entry.Tier)
	}
	between(t, "age", -1, entry.Age, time.Minute)
}

func TestDelete(t *testing.T) {
	namespace := newNamespace()
	remove := func(params map[string]string) bool {
		return call(t, larder.Delete, &pb.DeleteRequest{Namespace: namespace, Key: "k", Params: params}).Existed
	}
	call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "k", Value: text("x")})
	equal(t, "params are part of the key", remove(map[string]string{"a": "b"}), false)
	equal(t, "existed", remove(nil), true)
	got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "k"})
	equal(t, "outcome", got.Outcome, pb.Outcome_OUTCOME_MISS)
	equal(t, "existed, the second time", remove(nil), false)
}

func TestInvalidateNamespace(t *testing.T) {
	namespace, neighbour := newNamespace(), newNamespace()
	outcome := func(owner, key string) pb.Outcome {
		return call(t, larder.Get, &pb.GetRequest{Namespace: owner, Key: key}).Outcome
	}
	keys := []string{"a", "b"}
	for _, key := range keys {
		call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: key, Value: text("x")})
		call(t, larder.Set, &pb.SetRequest{Namespace: neighbour, Key: key, Value: text("x")})
	}
	call(t, larder.InvalidateNamespace, &pb.InvalidateNamespaceRequest{Namespace: namespace})
	for _, key := range keys {
		equal(t, "invalidated", outcome(namespace, key), pb.Outcome_OUTCOME_MISS)
		equal(t, "its neighbour", outcome(neighbour, key), pb.Outcome_OUTCOME_HIT)
	}
	call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "a", Value: text("again")})
	equal(t, "written again", outcome(namespace, "a"), pb.Outcome_OUTCOME_HIT)
}

func TestTouch(t *testing.T) {
	namespace := newNamespace()
	touch := func(key string) *pb.TouchResponse {
		return call(t, larder.Touch, &pb.TouchRequest{
			Namespace: namespace, Key: key, Ttl: durationpb.New(2 * time.Hour),
		})
	}
	stored := call(t, larder.Set, &pb.SetRequest{
		Namespace: namespace, Key: "k", Value: text("x"), Ttl: durationpb.New(time.Minute),
	})
	touched := touch("k")
	equal(t, "found", touched.Found, true)
	between(t, "applied TTL", 108*time.Minute-1, touched.Ttl, 2*time.Hour)
	entry := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "k"}).Entry
	equal(t, "version", entry.Version, stored.Version)
	between(t, "remaining TTL", time.Hour, entry.TtlRemaining, touched.Ttl.AsDuration()+clocksDiffer)
	equalMessage(t, "a missing entry", touch("missing"), &pb.TouchResponse{})
}

func TestIncrement(t *testing.T) {
	namespace := newNamespace()
	increment := func(key string, delta *int64, initial int64) int64 {
		return call(t, larder.Increment, &pb.IncrementRequest{
			Namespace: namespace, Key: key, Delta: delta, Initial: initial,
		}).Value
	}
	stored := func(key string) string {
		return call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: key}).Value.GetText()
	}
	by := proto.Int64
	equal(t, "from a missing entry, by one", increment("visits", nil, 0), 1)
	equal(t, "by 41", increment("visits", by(41), 0), 42)
	equal(t, "by zero", increment("visits", by(0), 0), 42)
	equal(t, "down", increment("visits", by(-50), 0), -8)
	equal(t, "from an initial value", increment("started", by(5), 100), 105)
	equal(t, "as Get reads it", stored("visits"), "-8")

	equal(t, "maximum", increment("max", by(0), math.MaxInt64), math.MaxInt64)
	equal(t, "maximum, as Get reads it", stored("max"), strconv.Itoa(math.MaxInt64))
	equal(t, "minimum", increment("min", by(math.MinInt64), 0), math.MinInt64)
	equal(t, "minimum and maximum", increment("min", by(math.MaxInt64), 0), -1)
	equal(t, "no conversion to a double", increment("exact", by(1), 1<<53), 1<<53+1)

	call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "visits", Value: text("7")})
	equal(t, "after Set", increment("visits", nil, 0), 8)
}

func TestIncrementRefused(t *testing.T) {
	namespace := newNamespace()
	for reason, value := range map[string]string{"OVERFLOW": strconv.Itoa(math.MaxInt64), "NOT_AN_INTEGER": "seven"} {
		call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: reason, Value: text(value)})
		request := &pb.IncrementRequest{Namespace: namespace, Key: reason}
		_, info := refusal(t, codes.FailedPrecondition, larder.Increment, request)
		equal(t, "reason", info.Reason, reason)
		got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: reason})
		equal(t, "the value is unchanged", got.Value.GetText(), value)
	}
}
