package polyglot

// FetchStream: a lease that ends with its stream.

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "larder.test/polyglot/gen/larder/v1"
)

type fetchStream = grpc.BidiStreamingClient[pb.FetchStreamRequest, pb.FetchStreamResponse]

// openStream opens a stream for the key `k` and returns it with its answer.
func openStream(ctx context.Context, t *testing.T, namespace string) (fetchStream, *pb.GetOrFetchResponse) {
	t.Helper()
	stream, err := larder.FetchStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	open := &pb.FetchStreamRequest_Open{Open: &pb.GetOrFetchRequest{Namespace: namespace, Key: "k"}}
	if err := stream.Send(&pb.FetchStreamRequest{Message: open}); err != nil {
		t.Fatal(err)
	}
	return stream, receive(t, stream).GetAnswer()
}

func receive(t *testing.T, stream fetchStream) *pb.FetchStreamResponse {
	t.Helper()
	response, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// waiting starts a call that waits for the value, and returns a channel with its answer.
func waiting(t *testing.T, namespace string) <-chan *pb.GetOrFetchResponse {
	t.Helper()
	answers := make(chan *pb.GetOrFetchResponse, 1)
	go func() {
		answer, err := larder.GetOrFetch(t.Context(), &pb.GetOrFetchRequest{
			Namespace: namespace, Key: "k", Wait: durationpb.New(12 * time.Second),
		})
		if err != nil {
			t.Error(err)
		}
		answers <- answer
	}()
	return answers
}

func TestStreamFills(t *testing.T) {
	namespace := newNamespace()
	stream, answer := openStream(t.Context(), t, namespace)
	equal(t, "lease", len(answer.GetLease().GetToken()), 16)
	follower := waiting(t, namespace)
	fill := &pb.FetchStreamRequest_Fill{Fill: &pb.FetchStreamFill{Value: text("computed")}}
	if err := stream.Send(&pb.FetchStreamRequest{Message: fill}); err != nil {
		t.Fatal(err)
	}
	filled := receive(t, stream).GetFilled()
	equal(t, "fill", filled.GetResult(), pb.SetResult_SET_RESULT_STORED)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end of the stream", err)
	}
	found := (<-follower).GetFound()
	equal(t, "value", found.GetValue().GetText(), "computed")
	equal(t, "version", found.GetEntry().GetVersion(), filled.Version)

	_, answer = openStream(t.Context(), t, namespace)
	equal(t, "value of the next stream", answer.GetFound().GetValue().GetText(), "computed")
}

func TestCancelledStreamReleasesItsLease(t *testing.T) {
	namespace := newNamespace()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, answer := openStream(ctx, t, namespace)
	first := answer.GetLease().GetToken()
	follower := waiting(t, namespace)
	cancelled := time.Now()
	cancel()
	second := (<-follower).GetLease().GetToken()
	if len(second) == 0 || string(second) == string(first) {
		t.Fatalf("got the lease %x after %x", second, first)
	}
	if late := time.Since(cancelled); late > 3*time.Second {
		t.Fatalf("the lease was granted to the next caller %v after the stream was cancelled", late)
	}
}
