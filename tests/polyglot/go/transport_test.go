package polyglot

// Transport: trailers, cancelled and timed out calls, flow control, concurrency, broken streams.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "larder.test/polyglot/gen/larder/v1"
)

const (
	longest     = 900 * 1024
	batchValues = 200
	batchValue  = 64 * 1024
	// How often the slow reader requests each value: more data than any library buffers.
	repeated = 3
)

// allWaiting returns the number of calls that wait in the server, from its metrics.
func allWaiting(t *testing.T) int {
	t.Helper()
	response, err := http.Get("http://" + os.Getenv("LARDER_ADMIN_ADDRESS") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(metrics)) {
		if value, found := strings.CutPrefix(line, "larder_waiting "); found {
			calls, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return calls
		}
	}
	t.Fatal("no larder_waiting in the metrics")
	return 0
}

// distinct returns bytes that depend on the seed and on the position.
func distinct(seed, size int) []byte {
	state := uint32(seed)*2654435761 + 1
	bytes := make([]byte, size)
	for i := range bytes {
		state = state*1664525 + 1013904223
		bytes[i] = byte(state >> 24)
	}
	return bytes
}

// atOnce runs the calls concurrently and waits for all of them.
func atOnce(t *testing.T, calls int, call func(number int) error) {
	t.Helper()
	var group sync.WaitGroup
	for number := range calls {
		group.Go(func() {
			if err := call(number); err != nil {
				t.Errorf("call %d: %v", number, err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// storeBatch stores the values of the large batch, and returns a request for each value `times`
// times.
func storeBatch(t *testing.T, namespace string, times int) *pb.BatchGetRequest {
	t.Helper()
	request := &pb.BatchGetRequest{}
	atOnce(t, batchValues, func(number int) error {
		_, err := larder.Set(t.Context(), &pb.SetRequest{
			Namespace: namespace, Key: fmt.Sprintf("k%d", number), Value: data(distinct(number, batchValue)),
		})
		return err
	})
	for number := range batchValues * times {
		key := fmt.Sprintf("k%d", number%batchValues)
		request.Keys = append(request.Keys, &pb.KeyRef{Namespace: namespace, Key: key})
	}
	return request
}

// checkBatch reads the remaining chunks, and checks all chunks including those already read.
func checkBatch(t *testing.T, stream grpc.ServerStreamingClient[pb.BatchGetResponse], times int, read ...*pb.BatchGetResponse) {
	t.Helper()
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after %d messages: %v", len(read), err)
		}
		read = append(read, chunk)
	}
	if len(read) < 10*times {
		t.Fatalf("the answer has %d messages", len(read))
	}
	results := results(read)
	equal(t, "values", len(results), batchValues*times)
	for number, result := range results {
		if !bytes.Equal(result.GetValue().GetData(), distinct(number%batchValues, batchValue)) {
			t.Fatalf("value %d is not what was stored", number)
		}
	}
}

func TestTransportTrailers(t *testing.T) {
	namespace := newNamespace()
	var header, trailer metadata.MD
	set := &pb.SetRequest{Namespace: namespace, Key: "", Value: text("x")}
	_, err := larder.Set(t.Context(), set, grpc.Header(&header), grpc.Trailer(&trailer))
	equal(t, "grpc-status", status.Code(err), codes.InvalidArgument)
	if message := status.Convert(err).Message(); !strings.Contains(message, "key") {
		t.Fatalf("grpc-message: %q", message)
	}
	// The library reports a trailers-only response as header or trailer.
	encoded := append(trailer.Get("grpc-status-details-bin"), header.Get("grpc-status-details-bin")...)
	equal(t, "grpc-status-details-bin", len(encoded), 1)
	details := &statuspb.Status{}
	if err := proto.Unmarshal([]byte(encoded[0]), details); err != nil {
		t.Fatal(err)
	}
	equalMessage(t, "status and its details", details, status.Convert(err).Proto())
	violations, _ := refusal(t, codes.InvalidArgument, larder.Set, set)
	equal(t, "violations", len(violations), 1)
	equal(t, "field", violations[0].Field, "key")

	get := &pb.GetRequest{Namespace: namespace, Key: "k"}
	for _, want := range []string{"MISS", "HIT"} {
		call(t, larder.Get, get, grpc.Header(&header))
		equal(t, "x-cache", strings.Join(header.Get("x-cache"), ","), want)
		call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "k", Value: text("x")})
	}
}

func TestTransportCancelledWaits(t *testing.T) {
	const calls = 20
	namespace := newNamespace()
	granted := lease(t, namespace, "k")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ends := make(chan error, calls)
	for range calls {
		go func() {
			_, err := larder.GetOrFetch(ctx, &pb.GetOrFetchRequest{
				Namespace: namespace, Key: "k", Wait: durationpb.New(10 * time.Second),
			})
			ends <- err
		}()
	}
	eventually(t, func() (int, bool) { now := allWaiting(t); return now, now >= calls })
	cancel()
	for range calls {
		equal(t, "a cancelled call", status.Code(<-ends), codes.Canceled)
	}
	started := time.Now()
	eventually(t, func() (int, bool) { now := allWaiting(t); return now, now == 0 })
	if took := time.Since(started); took > 3*time.Second {
		t.Fatalf("the server noticed the cancellation %v later", took)
	}
	filled := fill(t, namespace, "k", granted.Token, "x")
	equal(t, "the connection still works", filled.Result, pb.SetResult_SET_RESULT_STORED)
	got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "k"})
	equal(t, "value", got.GetValue().GetText(), "x")
}

func TestTransportShortDeadlines(t *testing.T) {
	namespace := newNamespace()
	granted := lease(t, namespace, "k")
	atOnce(t, 20, func(int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		started := time.Now()
		answer, err := larder.GetOrFetch(ctx, &pb.GetOrFetchRequest{
			Namespace: namespace, Key: "k", Wait: durationpb.New(5 * time.Second),
		})
		if status.Code(err) != codes.DeadlineExceeded && answer.GetContended() == nil {
			return fmt.Errorf("got %v, %v", answer, err)
		}
		if took := time.Since(started); took > 2*time.Second {
			return fmt.Errorf("a call with a deadline of 100 ms took %v", took)
		}
		return nil
	})
	filled := fill(t, namespace, "k", granted.Token, "x")
	equal(t, "the lease is still valid", filled.Result, pb.SetResult_SET_RESULT_STORED)
}

func TestTransportLargeValues(t *testing.T) {
	namespace := newNamespace()
	value := distinct(7, longest)
	set := &pb.SetRequest{Namespace: namespace, Key: "k", Value: data(value)}
	equal(t, "set", call(t, larder.Set, set).Result, pb.SetResult_SET_RESULT_STORED)
	atOnce(t, 50, func(int) error {
		got, err := larder.Get(t.Context(), &pb.GetRequest{Namespace: namespace, Key: "k"})
		if err == nil && !bytes.Equal(got.GetValue().GetData(), value) {
			return errors.New("the value is not what was stored")
		}
		return err
	})
}

func TestTransportCompressedMessages(t *testing.T) {
	namespace := newNamespace()
	compressed := grpc.UseCompressor(gzip.Name)
	for _, value := range []string{"short", strings.Repeat("a compressible value, ", 10_000)} {
		set := &pb.SetRequest{Namespace: namespace, Key: "k", Value: text(value)}
		stored, err := larder.Set(t.Context(), set, compressed)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "set", stored.Result, pb.SetResult_SET_RESULT_STORED)
		for _, options := range [][]grpc.CallOption{{compressed}, nil} {
			get := &pb.GetRequest{Namespace: namespace, Key: "k"}
			got, err := larder.Get(t.Context(), get, options...)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "value", got.GetValue().GetText() == value, true)
		}
	}
}

func TestTransportLargeBatch(t *testing.T) {
	request := storeBatch(t, newNamespace(), 1)
	stream, err := larder.BatchGet(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	checkBatch(t, stream, 1)
}

func TestTransportSlowReader(t *testing.T) {
	namespace := newNamespace()
	request := storeBatch(t, namespace, repeated)
	call(t, larder.Set, &pb.SetRequest{Namespace: namespace, Key: "small", Value: text("small")})
	stream, err := larder.BatchGet(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	pause := time.After(time.Second)
	atOnce(t, 200, func(int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		got, err := larder.Get(ctx, &pb.GetRequest{Namespace: namespace, Key: "small"})
		if err == nil && got.GetValue().GetText() != "small" {
			return fmt.Errorf("got %v", got)
		}
		return err
	})
	<-pause
	checkBatch(t, stream, repeated, first)
}

func TestTransportManyAtOnce(t *testing.T) {
	// Far above the server's limit of concurrent streams per connection.
	const calls = 2000
	namespace := newNamespace()
	for begin := 0; begin < calls; begin += 500 {
		request := &pb.BatchSetRequest{}
		for number := begin; number < begin+500; number++ {
			request.Items = append(request.Items, &pb.SetRequest{
				Namespace: namespace, Key: fmt.Sprintf("k%d", number), Value: text(fmt.Sprintf("value %d", number)),
			})
		}
		call(t, larder.BatchSet, request)
	}
	atOnce(t, calls, func(number int) error {
		got, err := larder.Get(t.Context(), &pb.GetRequest{Namespace: namespace, Key: fmt.Sprintf("k%d", number)})
		if err == nil && got.GetValue().GetText() != fmt.Sprintf("value %d", number) {
			return fmt.Errorf("got %v", got)
		}
		return err
	})
}

func TestTransportStreamThatFills(t *testing.T) {
	namespace := newNamespace()
	stream, answer := openStream(t.Context(), t, namespace)
	equal(t, "token", len(answer.GetLease().GetToken()), 16)
	value := data(distinct(3, longest))
	fill := &pb.FetchStreamRequest_Fill{Fill: &pb.FetchStreamFill{Value: value}}
	if err := stream.Send(&pb.FetchStreamRequest{Message: fill}); err != nil {
		t.Fatal(err)
	}
	equal(t, "fill", receive(t, stream).GetFilled().GetResult(), pb.SetResult_SET_RESULT_STORED)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end of the stream", err)
	}
	got := call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "k"})
	equal(t, "the stored value is the filled one", proto.Equal(got.Value, value), true)
}

func TestTransportBrokenConnection(t *testing.T) {
	namespace := newNamespace()
	other, err := grpc.NewClient(
		os.Getenv("LARDER_ADDRESS"), grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	stream, err := pb.NewCacheServiceClient(other).FetchStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	open := &pb.FetchStreamRequest_Open{Open: &pb.GetOrFetchRequest{Namespace: namespace, Key: "k"}}
	if err := stream.Send(&pb.FetchStreamRequest{Message: open}); err != nil {
		t.Fatal(err)
	}
	first := receive(t, stream).GetAnswer().GetLease().GetToken()
	equal(t, "token", len(first), 16)
	follower := waiting(t, namespace)
	// An answered call proves that the server has received the call before it.
	call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: "k"})
	broken := time.Now()
	other.Close()
	second := (<-follower).GetLease().GetToken()
	if len(second) != 16 || bytes.Equal(second, first) {
		t.Fatalf("got the lease %x after %x", second, first)
	}
	if late := time.Since(broken); late > 2*time.Second {
		t.Fatalf("the lease was granted to the next caller %v after the connection had closed", late)
	}
}
