package polyglot

// The example that applications copy, beyond the happy path.

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	getorcompute "larder.test/polyglot/gen/example"
	pb "larder.test/polyglot/gen/larder/v1"
)

type profile struct{ Name string }

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func never(context.Context) (*profile, error) { panic("computed without need") }

// together makes calls at the same time, and returns their values and errors.
func together(count int, call func() (*profile, error)) ([]*profile, []error) {
	values, failures := make([]*profile, count), make([]error, count)
	var calls sync.WaitGroup
	for index := range count {
		calls.Add(1)
		go func() {
			defer calls.Done()
			values[index], failures[index] = call()
		}()
	}
	calls.Wait()
	return values, failures
}

func TestOneOfManyComputes(t *testing.T) {
	name := getorcompute.Value{Namespace: newNamespace(), Key: "k", TTL: time.Minute}
	var computed atomic.Int32
	values, failures := together(5, func() (*profile, error) {
		return getorcompute.GetOrCompute(within(t, 10*time.Second), larder, name,
			func(context.Context) (*profile, error) {
				computed.Add(1)
				time.Sleep(200 * time.Millisecond)
				return &profile{"Ada"}, nil
			})
	})
	for index, value := range values {
		if failures[index] != nil || value == nil || value.Name != "Ada" {
			t.Fatalf("got %v, %v", value, failures[index])
		}
	}
	equal(t, "computations", computed.Load(), 1)
}

func TestNothingIsCachedToo(t *testing.T) {
	name := getorcompute.Value{Namespace: newNamespace(), Key: "k"}
	nothing := func(context.Context) (*profile, error) { return nil, nil }
	for _, compute := range []func(context.Context) (*profile, error){nothing, never} {
		value, err := getorcompute.GetOrCompute(within(t, 10*time.Second), larder, name, compute)
		if value != nil || err != nil {
			t.Fatalf("got %v, %v", value, err)
		}
	}
}

func TestFailureReachesTheOthersAtOnce(t *testing.T) {
	name := getorcompute.Value{Namespace: newNamespace(), Key: "k"}
	began := time.Now()
	_, failures := together(4, func() (*profile, error) {
		return getorcompute.GetOrCompute(within(t, 10*time.Second), larder, name,
			func(context.Context) (*profile, error) {
				time.Sleep(300 * time.Millisecond)
				return nil, errors.New("secret")
			})
	})
	if took := time.Since(began); took > 3*time.Second {
		t.Fatalf("took %v", took)
	}
	answered := 0
	for _, failure := range failures {
		var failed *getorcompute.ComputeFailed
		if errors.As(failure, &failed) {
			equal(t, "cause", failed.Cause, "*errors.errorString")
			answered++
		}
	}
	equal(t, "callers that were answered", answered, 3)
}

func TestCancelledCallerPassesTheLeaseOn(t *testing.T) {
	namespace := newNamespace()
	name := getorcompute.Value{Namespace: namespace, Key: "k"}
	ctx, cancel := context.WithCancel(within(t, 10*time.Second))
	_, err := getorcompute.GetOrCompute(ctx, larder, name,
		func(ctx context.Context) (*profile, error) {
			cancel()
			return nil, ctx.Err()
		})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	answer := call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: "k", Wait: noWait})
	if answer.GetLease() == nil {
		t.Fatalf("there is no lease: %v", answer)
	}
}

func TestAnotherCallerTakesTooLong(t *testing.T) {
	namespace := newNamespace()
	lease(t, namespace, "k")
	name := getorcompute.Value{Namespace: namespace, Key: "k"}
	_, err := getorcompute.GetOrCompute(within(t, 500*time.Millisecond), larder, name, never)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestMistakesAreReturned(t *testing.T) {
	name := getorcompute.Value{Namespace: newNamespace()}
	_, err := getorcompute.GetOrCompute(within(t, 10*time.Second), larder, name, never)
	equal(t, "code", status.Code(err), codes.InvalidArgument)
}

func TestLarderIsDown(t *testing.T) {
	connection, err := grpc.NewClient("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	name := getorcompute.Value{Namespace: "ns", Key: "k"}
	value, err := getorcompute.GetOrCompute(within(t, 3*time.Second), pb.NewCacheServiceClient(connection), name,
		func(context.Context) (*profile, error) { return &profile{"Ada"}, nil })
	if err != nil || value.Name != "Ada" {
		t.Fatalf("got %v, %v", value, err)
	}
}

func TestValueThatCannotBeStoredGivesTheLeaseBack(t *testing.T) {
	namespace := newNamespace()
	within10 := func() context.Context { return within(t, 10*time.Second) }
	_, err := getorcompute.GetOrCompute(within10(), larder, getorcompute.Value{Namespace: namespace, Key: "chan"},
		func(context.Context) (*chan int, error) { value := make(chan int); return &value, nil })
	if err == nil {
		t.Fatal("a channel is no JSON")
	}
	large := strings.Repeat("x", 2_000_000)
	value, err := getorcompute.GetOrCompute(within10(), larder, getorcompute.Value{Namespace: namespace, Key: "large"},
		func(context.Context) (*string, error) { return &large, nil })
	if err != nil || *value != large {
		t.Fatalf("got %v", err)
	}
	for _, key := range []string{"chan", "large"} {
		answer := call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: key, Wait: noWait})
		equal(t, key, answer.FetchStatus, pb.FetchStatus_FETCH_STATUS_FAILED)
	}
}

// scripted is a client whose GetOrFetch has one answer. It records the other calls.
type scripted struct {
	pb.CacheServiceClient
	answer *pb.GetOrFetchResponse
	calls  string
}

func (s *scripted) GetOrFetch(
	context.Context, *pb.GetOrFetchRequest, ...grpc.CallOption,
) (*pb.GetOrFetchResponse, error) {
	return s.answer, nil
}

func (s *scripted) Set(context.Context, *pb.SetRequest, ...grpc.CallOption) (*pb.SetResponse, error) {
	s.calls += " set"
	return &pb.SetResponse{}, nil
}

func (s *scripted) Abandon(
	context.Context, *pb.AbandonRequest, ...grpc.CallOption,
) (*pb.AbandonResponse, error) {
	s.calls += " abandon"
	return &pb.AbandonResponse{}, nil
}

func TestDegradedAnswersLeasesWithStaleValuesAndNegativeEntries(t *testing.T) {
	seven := func(context.Context) (*int, error) { value := 7; return &value, nil }
	failing := func(context.Context) (*int, error) { return nil, errors.New("down") }
	lease := func(stale *pb.Found, degraded bool) *pb.GetOrFetchResponse {
		granted := &pb.Lease{Token: make([]byte, 16), Stale: stale}
		return &pb.GetOrFetchResponse{
			Outcome: &pb.GetOrFetchResponse_Lease{Lease: granted}, Degraded: degraded,
		}
	}
	stale := &pb.Found{
		Outcome: pb.Outcome_OUTCOME_STALE, Value: &pb.Value{Kind: &pb.Value_Json{Json: "1"}},
	}
	negative := &pb.GetOrFetchResponse{
		Outcome: &pb.GetOrFetchResponse_Found{Found: &pb.Found{Outcome: pb.Outcome_OUTCOME_NEGATIVE}},
	}
	for _, each := range []struct {
		answer  *pb.GetOrFetchResponse
		compute func(context.Context) (*int, error)
		want    string
	}{
		{lease(nil, true), seven, "7"},
		{lease(nil, true), failing, "down"},
		{lease(stale, false), seven, "7 set"},
		{lease(stale, false), failing, "1 abandon"},
		{negative, failing, "nil"},
	} {
		client := &scripted{answer: each.answer}
		name := getorcompute.Value{Namespace: "ns", Key: "k"}
		value, err := getorcompute.GetOrCompute(within(t, time.Second), client, name, each.compute)
		got := "nil"
		if err != nil {
			got = err.Error()
		} else if value != nil {
			got = strconv.Itoa(*value)
		}
		equal(t, "value and calls", got+client.calls, each.want)
	}
}
