package larder_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"larder.test/clients/go/larderpb"
)

// scripted is a server whose answers are those of a test. Calls without a function are answered
// with nothing, and counted like the others.
type scripted struct {
	larderpb.UnimplementedCacheServiceServer
	get        func(context.Context, *larderpb.GetRequest) (*larderpb.GetResponse, error)
	getOrFetch func(*larderpb.GetOrFetchRequest) (*larderpb.GetOrFetchResponse, error)
	batch      func(larderpb.CacheService_BatchGetOrFetchServer) error
	watch      func(larderpb.CacheService_WatchServer) error

	mu        sync.Mutex
	calls     map[string]int
	filled    []string
	abandoned []*larderpb.AbandonRequest
}

func (s *scripted) serve(t *testing.T) string {
	t.Helper()
	s.calls = map[string]int{}
	server := grpc.NewServer()
	larderpb.RegisterCacheServiceServer(server, s)
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func (s *scripted) called(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
}

func (s *scripted) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

func (s *scripted) passedOn() (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, each := range s.abandoned {
		if each.PassOn {
			keys = append(keys, each.Key)
		}
	}
	return keys
}

func (s *scripted) Get(
	ctx context.Context, request *larderpb.GetRequest,
) (*larderpb.GetResponse, error) {
	s.called("Get")
	if s.get == nil {
		return &larderpb.GetResponse{Outcome: larderpb.Outcome_OUTCOME_MISS}, nil
	}
	return s.get(ctx, request)
}

func (s *scripted) GetOrFetch(
	_ context.Context, request *larderpb.GetOrFetchRequest,
) (*larderpb.GetOrFetchResponse, error) {
	s.called("GetOrFetch")
	return s.getOrFetch(request)
}

func (s *scripted) BatchGetOrFetch(
	_ *larderpb.BatchGetOrFetchRequest, stream larderpb.CacheService_BatchGetOrFetchServer,
) error {
	s.called("BatchGetOrFetch")
	return s.batch(stream)
}

func (s *scripted) Watch(
	_ *larderpb.WatchRequest, stream larderpb.CacheService_WatchServer,
) error {
	s.called("Watch")
	return s.watch(stream)
}

func (s *scripted) BatchSet(
	_ context.Context, request *larderpb.BatchSetRequest,
) (*larderpb.BatchSetResponse, error) {
	s.called("BatchSet")
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := &larderpb.BatchSetResponse{}
	for _, item := range request.Items {
		s.filled = append(s.filled, item.Key)
		answer.Results = append(answer.Results, &larderpb.SetResponse{
			Result: larderpb.SetResult_SET_RESULT_STORED,
		})
	}
	return answer, nil
}

func (s *scripted) Abandon(
	_ context.Context, request *larderpb.AbandonRequest,
) (*larderpb.AbandonResponse, error) {
	s.called("Abandon")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abandoned = append(s.abandoned, request)
	return &larderpb.AbandonResponse{}, nil
}
