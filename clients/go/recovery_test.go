package larder_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
	"larder.test/clients/go/lardertest"
)

func TestShortDeadlinesOfCallersDoNotReplaceTheConnection(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	server := &scripted{get: func(
		_ context.Context, request *larderpb.GetRequest,
	) (*larderpb.GetResponse, error) {
		if request.Key == "slow" {
			<-end
		}
		return &larderpb.GetResponse{Outcome: larderpb.Outcome_OUTCOME_MISS}, nil
	}}
	between := newProxy(t, server.serve(t))
	client := must[*larder.Client](t)(larder.New(between.listener.Addr().String()))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	for range 12 {
		short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		if _, err := cache.Get(short, "slow"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	if count := between.connections(); count != 1 {
		t.Error(count, "connections")
	}
}

func TestADeadlineThatTheServerReportsIsAnAnswer(t *testing.T) {
	server := &scripted{get: func(
		context.Context, *larderpb.GetRequest,
	) (*larderpb.GetResponse, error) {
		time.Sleep(20 * time.Millisecond) // Longer than a call may take, all together.
		late := must[*status.Status](t)(status.New(codes.DeadlineExceeded, "the store is slow").
			WithDetails(&errdetails.ErrorInfo{Reason: "STORE_TIMEOUT", Domain: "larder"}))
		return nil, late.Err()
	}}
	between := newProxy(t, server.serve(t))
	client := must[*larder.Client](t)(larder.New(between.listener.Addr().String(),
		larder.WithCallTimeout(100*time.Millisecond), larder.WithOnError(larder.Raise)))
	defer func() { _ = client.Close() }()
	cache := newCache[string](t, client)
	for range 12 {
		_, err := cache.Get(context.Background(), "k")
		if !errors.Is(err, larder.ErrDeadlineExceeded) {
			t.Error(err)
		}
	}
	if count := between.connections(); count != 1 {
		t.Error(count, "connections")
	}
}

func TestAMessageOverTheLimitIsAMistake(t *testing.T) {
	server := &scripted{get: func(
		context.Context, *larderpb.GetRequest,
	) (*larderpb.GetResponse, error) {
		text := strings.Repeat("x", 17<<20)
		return &larderpb.GetResponse{
			Outcome: larderpb.Outcome_OUTCOME_HIT,
			Value:   &larderpb.Value{Kind: &larderpb.Value_Text{Text: text}},
		}, nil
	}}
	client := must[*larder.Client](t)(larder.New(
		server.serve(t), larder.WithPreset(larder.PresetLocal)))
	defer func() { _ = client.Close() }()
	_, err := newCache[string](t, client).Get(context.Background(), "k")
	if !errors.Is(err, larder.ErrMessageTooLarge) || errors.Is(err, larder.ErrValueTooLarge) {
		t.Fatal(err)
	}
}

func TestTheStatusOfAnErrorHasItsDetails(t *testing.T) {
	failure := &larder.Error{
		Code: codes.ResourceExhausted, Reason: "QUOTA_EXCEEDED", Message: "too much",
		RetryAfter: time.Second, Metadata: map[string]string{"limit": "7"},
	}
	found := status.Convert(fmt.Errorf("a call: %w", failure))
	details := map[string]any{}
	for _, each := range found.Details() {
		details[fmt.Sprintf("%T", each)] = each
	}
	info, _ := details["*errdetails.ErrorInfo"].(*errdetails.ErrorInfo)
	retry, _ := details["*errdetails.RetryInfo"].(*errdetails.RetryInfo)
	if found.Code() != failure.Code || info.GetReason() != failure.Reason ||
		info.GetDomain() != "larder" || info.GetMetadata()["limit"] != "7" ||
		retry.GetRetryDelay().AsDuration() != time.Second {
		t.Error(found, details)
	}
	if plain := (&larder.Error{Code: codes.Aborted}).GRPCStatus(); len(plain.Details()) != 0 {
		t.Error(plain)
	}
}

func TestACallAfterCloseIsNoFailedPrecondition(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	_ = client.Close()
	_, err := cache.Get(context.Background(), "k")
	if !errors.Is(err, larder.ErrClosed) || errors.Is(err, larder.ErrFailedPrecondition) {
		t.Error(err)
	}
}

func TestTheCauseOfAContextMayBeAnErrorOfTheLibrary(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := &larder.Error{Code: codes.Unavailable, Message: "of another call"}
	cancel(cause)
	for _, err := range []error{
		errOf(cache.Get(ctx, "k")), errOf(cache.GetOrFetch(ctx, "k", loads("v"))),
	} {
		if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
			t.Error(err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestAStreamOfAGeneratedStubOutlivesItsConnection(t *testing.T) {
	next := make(chan struct{})
	server := &scripted{watch: func(stream larderpb.CacheService_WatchServer) error {
		for range next {
			if err := stream.Send(&larderpb.WatchResponse{}); err != nil {
				return err
			}
		}
		return nil
	}}
	client := must[*larder.Client](t)(larder.New(server.serve(t)))
	defer func() { _ = client.Close() }()
	stub, ctx := larderpb.NewCacheServiceClient(client.Connection()), context.Background()
	stream := must[grpc.ServerStreamingClient[larderpb.WatchResponse]](t)(
		stub.Watch(ctx, &larderpb.WatchRequest{Namespaces: []string{"n"}}))
	for range 2 {
		next <- struct{}{}
		must[*larderpb.WatchResponse](t)(stream.Recv())
		larder.ReplaceConnection(client)
		must[*larderpb.GetResponse](t)(stub.Get(ctx, &larderpb.GetRequest{Namespace: "n", Key: "k"}))
	}
	close(next)
}

// feedOf sends the messages of a test on the first stream, and nothing on later ones.
func feedOf(messages <-chan *larderpb.WatchResponse) func(larderpb.CacheService_WatchServer) error {
	return func(stream larderpb.CacheService_WatchServer) error {
		for {
			select {
			case message := <-messages:
				if err := stream.Send(message); err != nil {
					return err
				}
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}
	}
}

func heartbeat() *larderpb.WatchResponse {
	return &larderpb.WatchResponse{
		Event: &larderpb.WatchResponse_Heartbeat{Heartbeat: &larderpb.Heartbeat{}},
	}
}

func TestAFeedThatWasLateIsUsedAgain(t *testing.T) {
	messages := make(chan *larderpb.WatchResponse)
	server := &scripted{watch: feedOf(messages), get: func(
		context.Context, *larderpb.GetRequest,
	) (*larderpb.GetResponse, error) {
		return &larderpb.GetResponse{
			Outcome: larderpb.Outcome_OUTCOME_HIT,
			Value:   &larderpb.Value{Kind: &larderpb.Value_Text{Text: "v"}},
			Entry: &larderpb.EntryInfo{
				Tier: larderpb.Tier_TIER_STORE, TtlRemaining: durationpb.New(time.Hour),
			},
		}, nil
	}}
	client := must[*larder.Client](t)(larder.New(
		server.serve(t), larder.WithPreset(larder.PresetLocal)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client, larder.NearCache{}), context.Background()
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	messages <- &larderpb.WatchResponse{Event: &larderpb.WatchResponse_Ready{Ready: &larderpb.Ready{
		Heartbeat: durationpb.New(deadline), MaxDelay: durationpb.New(deadline),
	}}}
	near(t, cache, "k")
	larder.LapseFeed(cache.Namespace)
	if result := must[larder.Result[string]](t)(cache.Get(ctx, "k")); result.Tier != larder.TierStore {
		t.Fatal(result.Tier)
	}
	messages <- heartbeat()
	eventually(t, "a hit of the near cache", func() bool {
		select {
		case messages <- heartbeat():
		case <-time.After(10 * time.Millisecond):
		}
		return must[larder.Result[string]](t)(cache.Get(ctx, "k")).Tier == larder.TierClient
	})
	if count := server.count("Watch"); count != 1 {
		t.Error(count, "streams")
	}
}

func TestASilentConnectionOfAFeedIsReplacedAtOnce(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{
		Config: "[watch]\nheartbeat = \"200ms\"\nmax_delay = \"200ms\"\n",
	})
	between := newProxy(t, server.Target)
	client := must[*larder.Client](t)(larder.New(between.listener.Addr().String()))
	defer func() { _ = client.Close() }()
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	begun, readies := time.Now(), 0
	for change, err := range namespace.Watch(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if change.Kind == larder.ChangeReady {
			if readies++; readies == 2 {
				break
			}
			begun = time.Now()
			between.silence()
		}
	}
	// Without that: a further stream on the dead connection, for 5 s.
	if took := time.Since(begun); took > 4*time.Second {
		t.Error(took)
	}
}

func TestHandlesShareANearCache(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	first, ctx := newCache[string](t, client, larder.NearCache{}), context.Background()
	must[larder.Write](t)(first.Set(ctx, "k", "v"))
	near(t, first, "k")
	second := newCache[string](t, client, larder.NearCache{})
	if result := must[larder.Result[string]](t)(second.Get(ctx, "k")); result.
		Tier != larder.TierClient {
		t.Error(result.Tier)
	}
	other := newCache[string](t, client, larder.NearCache{MaxEntries: 5})
	if result := must[larder.Result[string]](t)(other.Get(ctx, "k")); result.
		Tier != larder.TierStore {
		t.Error(result.Tier)
	}
}

func TestReadsOfTheNearCacheThatHaveEndedAreForgotten(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	cache, ctx := newCache[string](t, client, larder.NearCache{}), context.Background()
	near(t, newFilled(t, cache), "k")
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			key := fmt.Sprint("k", i%4)
			must[larder.Result[string]](t)(cache.Get(ctx, key))
			must[larder.Write](t)(cache.Set(ctx, key, "v"))
			must[map[string]larder.Result[string]](t)(cache.GetMany(ctx, []string{key, "k0", "k1"}))
		})
	}
	all.Wait()
	if count := larder.NearPending(cache.Namespace); count != 0 {
		t.Error(count)
	}
}

func newFilled(t *testing.T, cache *larder.Cache[string]) *larder.Cache[string] {
	t.Helper()
	must[larder.Write](t)(cache.Set(context.Background(), "k", "v"))
	return cache
}

type pointsToItself *pointsToItself

func TestAPointerToItselfIsRefused(t *testing.T) {
	var cycle pointsToItself
	cycle = &cycle
	var keyError *larder.KeyError
	if _, err := larder.Canonical(cycle, "a"); !errors.As(err, &keyError) {
		t.Error(err)
	}
	var anything any
	anything = &anything
	var encodeError *larder.EncodeError
	if _, err := larder.Auto[any]().Encode(anything); !errors.As(err, &encodeError) {
		t.Error(err)
	}
}

// uncomparable is a codec that only looks comparable.
type uncomparable struct{ options any }

func (uncomparable) Encode(value string) (larder.Encoded, error) {
	return larder.Encoded{Kind: larder.KindText, Text: value}, nil
}

func (uncomparable) Decode(encoded larder.Encoded) (string, error) { return encoded.Text, nil }

func TestACodecNeedNotBeComparable(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	cache := larder.With(namespace, uncomparable{options: []int{1}})
	result, err := cache.GetOrFetch(context.Background(), "k", loads("v"))
	if err != nil || result.Value != "v" {
		t.Fatal(result, err)
	}
}
