// Package polyglot checks a running Larder from a Go client.
package polyglot

import (
	"context"
	"crypto/rand"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "larder.test/polyglot/gen/larder/v1"
)

// Default deadline of every call: a hanging call fails its check instead of the run.
const serviceConfig = `{"methodConfig": [{"name": [{}], "timeout": "15s"}]}`

var (
	connection *grpc.ClientConn
	larder     pb.CacheServiceClient
)

func TestMain(m *testing.M) {
	var err error
	connection, err = grpc.NewClient(
		os.Getenv("LARDER_ADDRESS"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
	)
	if err != nil {
		panic(err)
	}
	larder = pb.NewCacheServiceClient(connection)
	os.Exit(m.Run())
}

// newNamespace returns a unique namespace, which isolates a check from other checks and earlier
// runs.
func newNamespace() string { return "go-" + unique() }

// unique returns a unique name of 26 letters and digits.
func unique() string {
	name := []byte(rand.Text())
	for i, char := range name {
		if 'A' <= char && char <= 'Z' {
			name[i] = char - 'A' + 'a'
		}
	}
	return string(name)
}

// call makes a call that must succeed.
func call[Request, Response any](
	t *testing.T,
	method func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
	request *Request,
	options ...grpc.CallOption,
) *Response {
	t.Helper()
	response, err := method(t.Context(), request, options...)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// refusal makes a call that must fail with the code, and returns its BadRequest and ErrorInfo.
func refusal[Request, Response any](
	t *testing.T,
	code codes.Code,
	method func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
	request *Request,
) (violations []*errdetails.BadRequest_FieldViolation, info *errdetails.ErrorInfo) {
	t.Helper()
	_, err := method(t.Context(), request)
	if status.Code(err) != code {
		t.Fatalf("got %v, want code %v", err, code)
	}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			violations = detail.FieldViolations
		case *errdetails.ErrorInfo:
			info = detail
		}
	}
	equal(t, "domain", info.GetDomain(), "larder")
	return violations, info
}

// eventually polls until the probe reports done, and returns its answer.
func eventually[T any](t *testing.T, probe func() (answer T, done bool)) T {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		answer, done := probe()
		if done {
			return answer
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %v after 10 s", answer)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func equalMessage(t *testing.T, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func equalSlices[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// between checks that a duration is in (low, high].
func between(t *testing.T, what string, low time.Duration, got *durationpb.Duration, high time.Duration) {
	t.Helper()
	if duration := got.AsDuration(); duration <= low || duration > high {
		t.Fatalf("%s: got %v, want one above %v and up to %v", what, duration, low, high)
	}
}

func text(value string) *pb.Value { return &pb.Value{Kind: &pb.Value_Text{Text: value}} }

func data(value []byte) *pb.Value { return &pb.Value{Kind: &pb.Value_Data{Data: value}} }

func jsonText(value string) *pb.Value { return &pb.Value{Kind: &pb.Value_Json{Json: value}} }
