package polyglot

// Entries of ../shared.json that each language writes and all others read. Keys begin with the
// name of the writer.

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	pb "larder.test/polyglot/gen/larder/v1"
)

type sharedEntry struct {
	Key    string
	Params map[string]string
	Text   *string
	JSON   *string
	Data   *string
}

func sharedEntries(t *testing.T) (entries []sharedEntry) {
	t.Helper()
	file, err := os.ReadFile("../shared.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &entries); err != nil {
		t.Fatal(err)
	}
	return entries
}

func (entry sharedEntry) value(t *testing.T) *pb.Value {
	t.Helper()
	switch {
	case entry.Text != nil:
		return text(*entry.Text)
	case entry.JSON != nil:
		return jsonText(*entry.JSON)
	}
	decoded, err := base64.StdEncoding.DecodeString(*entry.Data)
	if err != nil {
		t.Fatal(err)
	}
	return data(decoded)
}

func TestSharedWrite(t *testing.T) {
	for _, entry := range sharedEntries(t) {
		// Go sends params in random order: keys must not depend on it.
		stored := call(t, larder.Set, &pb.SetRequest{
			Namespace: "shared", Key: "go/" + entry.Key, Params: entry.Params, Value: entry.value(t),
		})
		equal(t, entry.Key, stored.Result, pb.SetResult_SET_RESULT_STORED)
	}
}

func TestSharedRead(t *testing.T) {
	for writer := range strings.FieldsSeq(os.Getenv("LARDER_WRITERS")) {
		for _, entry := range sharedEntries(t) {
			got := call(t, larder.Get, &pb.GetRequest{
				Namespace: "shared", Key: writer + "/" + entry.Key, Params: entry.Params,
			})
			what := fmt.Sprintf("%q of %s with params %q", entry.Key, writer, entry.Params)
			equal(t, what, got.Outcome, pb.Outcome_OUTCOME_HIT)
			equalMessage(t, what, got.Value, entry.value(t))
		}
	}
}
