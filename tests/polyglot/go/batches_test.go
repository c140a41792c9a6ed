package polyglot

// BatchGet, BatchSet, BatchDelete.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "larder.test/polyglot/gen/larder/v1"
)

const count = 400

func refs(namespace string, numbers []int) []*pb.KeyRef {
	refs := make([]*pb.KeyRef, 0, len(numbers))
	for _, number := range numbers {
		refs = append(refs, &pb.KeyRef{
			Namespace: namespace,
			Key:       fmt.Sprintf("k%d", number),
			Params:    map[string]string{"n": fmt.Sprint(number)},
		})
	}
	return refs
}

// numbers returns the numbers from low up to but excluding high.
func numbers(low, high, step int) []int {
	var numbers []int
	for number := low; number < high; number += step {
		numbers = append(numbers, number)
	}
	return numbers
}

// store writes the numbered entries and returns the versions by number.
func store(t *testing.T, namespace string, numbers []int, value func(number int) *pb.Value) map[int]string {
	t.Helper()
	request := &pb.BatchSetRequest{}
	for i, ref := range refs(namespace, numbers) {
		request.Items = append(request.Items, &pb.SetRequest{
			Namespace: ref.Namespace, Key: ref.Key, Params: ref.Params, Value: value(numbers[i]),
		})
	}
	answer := call(t, larder.BatchSet, request)
	equal(t, "results", len(answer.Results), len(numbers))
	versions := map[int]string{}
	for i, result := range answer.Results {
		equal(t, request.Items[i].Key, result.Result, pb.SetResult_SET_RESULT_STORED)
		versions[numbers[i]] = result.Version
	}
	return versions
}

func batchGet(t *testing.T, keys []*pb.KeyRef) []*pb.BatchGetResponse {
	t.Helper()
	stream, err := larder.BatchGet(t.Context(), &pb.BatchGetRequest{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	var chunks []*pb.BatchGetResponse
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return chunks
		}
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, chunk)
	}
}

func results(chunks []*pb.BatchGetResponse) []*pb.BatchGetResult {
	var results []*pb.BatchGetResult
	for _, chunk := range chunks {
		results = append(results, chunk.Results...)
	}
	return results
}

func TestBatchOrder(t *testing.T) {
	namespace := newNamespace()
	value := func(number int) *pb.Value { return text(fmt.Sprintf("value %d", number)) }
	versions := store(t, namespace, numbers(0, count, 2), value)
	// In reverse order, with every other key missing and one key duplicated.
	asked := numbers(0, count, 1)
	slices.Reverse(asked)
	asked = append(asked, 0)
	results := results(batchGet(t, refs(namespace, asked)))
	equal(t, "results", len(results), len(asked))
	for i, number := range asked {
		what, result := fmt.Sprintf("k%d", number), results[i]
		if number%2 == 1 {
			equal(t, what, result.Outcome, pb.Outcome_OUTCOME_MISS)
			equal(t, what, result.Value == nil, true)
			continue
		}
		equal(t, what, result.Outcome, pb.Outcome_OUTCOME_HIT)
		equalMessage(t, what, result.Value, value(number))
		equal(t, what, result.Entry.Version, versions[number])
	}
}

func TestLargeAnswersAreSplitIntoChunks(t *testing.T) {
	namespace := newNamespace()
	value := func(number int) *pb.Value {
		return data(binary.BigEndian.AppendUint32(make([]byte, 0, 16*1024), uint32(number))[:16*1024])
	}
	store(t, namespace, numbers(0, count/2, 1), value)
	store(t, namespace, numbers(count/2, count, 1), value)
	chunks := batchGet(t, refs(namespace, numbers(0, count, 1)))
	// 6.3 MiB in total, above every client's default message size limit.
	if len(chunks) < 2 {
		t.Fatal("the answer is a single message")
	}
	for _, chunk := range chunks {
		if size := proto.Size(chunk); size >= 2<<20 {
			t.Fatalf("a chunk has %d bytes", size)
		}
	}
	var got []int
	for _, result := range results(chunks) {
		got = append(got, int(binary.BigEndian.Uint32(result.Value.GetData())))
	}
	equalSlices(t, "order", got, numbers(0, count, 1))
}

func TestSmallAnswerIsOneMessage(t *testing.T) {
	equal(t, "messages", len(batchGet(t, refs(newNamespace(), numbers(0, 10, 1)))), 1)
}

func TestBatchDelete(t *testing.T) {
	namespace := newNamespace()
	store(t, namespace, numbers(0, count, 2), func(int) *pb.Value { return text("x") })
	request := &pb.BatchDeleteRequest{Keys: refs(namespace, numbers(0, count, 1))}
	for number, existed := range call(t, larder.BatchDelete, request).Existed {
		equal(t, fmt.Sprintf("k%d existed", number), existed, number%2 == 0)
	}
	again := call(t, larder.BatchDelete, request).Existed
	equal(t, "results", len(again), count)
	equal(t, "a key existed the second time", slices.Contains(again, true), false)
}

func TestBatchItemsAreIndependent(t *testing.T) {
	item := func(namespace, key string) *pb.SetRequest {
		return &pb.SetRequest{
			Namespace: namespace, Key: key, Value: text("new"),
			Condition: &pb.SetRequest_IfAbsent{IfAbsent: true},
		}
	}
	namespace := newNamespace()
	call(t, larder.Set, item(namespace, "there"))
	request := &pb.BatchSetRequest{Items: []*pb.SetRequest{item(namespace, "there"), item(namespace, "fresh")}}
	results := call(t, larder.BatchSet, request).Results
	equal(t, "results", len(results), 2)
	equal(t, "there", results[0].Result, pb.SetResult_SET_RESULT_CONDITION_NOT_MET)
	equal(t, "fresh", results[1].Result, pb.SetResult_SET_RESULT_STORED)
}

func TestInvalidItemFailsTheBatch(t *testing.T) {
	namespace := newNamespace()
	violations, _ := refusal(t, codes.InvalidArgument, larder.BatchSet, &pb.BatchSetRequest{Items: []*pb.SetRequest{
		{Namespace: namespace, Key: "valid", Value: text("x")},
		{Namespace: namespace, Key: "", Value: text("x")},
	}})
	equal(t, "violations", len(violations), 1)
	equal(t, "field", violations[0].Field, "items[1].key")
	got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "valid"})
	equal(t, "the valid item", got.Outcome, pb.Outcome_OUTCOME_MISS)

	tooMany := &pb.BatchDeleteRequest{Keys: refs(namespace, numbers(0, 1001, 1))}
	violations, info := refusal(t, codes.InvalidArgument, larder.BatchDelete, tooMany)
	equal(t, "reason", info.Reason, "BATCH_TOO_LARGE")
	equal(t, "violations", len(violations), 1)
	equal(t, "field", violations[0].Field, "keys")
	if !strings.Contains(violations[0].Description, "1000") {
		t.Fatalf("the limit is not named in %q", violations[0].Description)
	}
}
