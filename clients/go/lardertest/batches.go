package lardertest

import (
	"context"
	"fmt"

	"larder.test/clients/go/larderpb"
)

// BatchGet is the call of the service.
func (s *service) BatchGet(
	request *larderpb.BatchGetRequest, stream larderpb.CacheService_BatchGetServer,
) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]*larderpb.BatchGetResult, len(request.Keys))
	for i, key := range request.Keys {
		read, err := s.read(stream.Context(), &larderpb.GetRequest{
			Namespace: key.Namespace, Key: key.Key, Params: key.Params,
			MaxStale: request.MaxStale, Consistency: request.Consistency,
			OmitValue: request.OmitValue, Touch: request.Touch,
		})
		if err != nil {
			return err
		}
		results[i] = &larderpb.BatchGetResult{
			Outcome: read.Outcome, Value: read.Value, Entry: read.Entry,
		}
	}
	return sendParts(results, func(part []*larderpb.BatchGetResult) error {
		return stream.Send(&larderpb.BatchGetResponse{Results: part, Degraded: s.degraded})
	})
}

// BatchSet is the call of the service.
func (s *service) BatchSet(
	ctx context.Context, request *larderpb.BatchSetRequest,
) (*larderpb.BatchSetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, item := range request.Items {
		if err := s.checkSet(item, fmt.Sprintf("items[%d].", i)); err != nil {
			return nil, err
		}
	}
	answer := &larderpb.BatchSetResponse{}
	for _, item := range request.Items {
		answer.Results = append(answer.Results, s.write(ctx, item))
	}
	return answer, nil
}

// BatchDelete is the call of the service.
func (s *service) BatchDelete(
	ctx context.Context, request *larderpb.BatchDeleteRequest,
) (*larderpb.BatchDeleteResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := &larderpb.BatchDeleteResponse{}
	for i, key := range request.Keys {
		one := &larderpb.DeleteRequest{
			Namespace: key.Namespace, Key: key.Key, Params: key.Params, HoldOff: request.HoldOff,
		}
		if i < len(request.IfVersions) && request.IfVersions[i] != "" {
			one.IfVersion = &request.IfVersions[i]
		}
		removed, err := s.remove(ctx, one)
		if err != nil {
			return nil, err
		}
		answer.Existed = append(answer.Existed, removed.Existed)
		answer.Deleted = append(answer.Deleted, removed.Deleted)
		answer.Durabilities = append(answer.Durabilities, removed.Durability)
	}
	return answer, nil
}
