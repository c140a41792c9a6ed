package lardertest

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"larder.test/clients/go/larderpb"
)

const (
	longestWait    = time.Minute
	contendedRetry = 100 * time.Millisecond
)

// GetOrFetch is the call of the service.
func (s *service) GetOrFetch(
	ctx context.Context, request *larderpb.GetOrFetchRequest,
) (*larderpb.GetOrFetchResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.getOrFetch(ctx, request)
}

// getOrFetch reads one entry, or grants the lease to compute it.
func (f *Fake) getOrFetch(
	ctx context.Context, request *larderpb.GetOrFetchRequest,
) (*larderpb.GetOrFetchResponse, error) {
	if err := checkKey(request, ""); err != nil {
		return nil, err
	}
	settings, at := f.settings(request.Namespace), placeOf(request, schemaOf(ctx))
	if f.degraded {
		return &larderpb.GetOrFetchResponse{
			Outcome: leased(make([]byte, 16), settings.LeaseTTL, nil, false), Degraded: true,
		}, nil
	}
	begun, wait := f.now(), settings.LeaseWait
	if request.Wait != nil {
		wait = request.Wait.AsDuration()
	}
	waitUntil := time.Now().Add(min(longestWait, wait))
	counted := f.count(request.Namespace)
	for waited := false; ; waited = true {
		one, fresh := f.find(at)
		// With no_cache, only a value that was computed for this call or later is an answer.
		usable := one != nil && (!request.NoCache || one.writtenAt.After(begun))
		if usable && fresh {
			answer := &larderpb.GetOrFetchResponse{Outcome: found(f.foundOf(one, true))}
			switch {
			case waited:
				counted.Misses++
				answer.FetchStatus = larderpb.FetchStatus_FETCH_STATUS_COALESCED
			case one.value == nil:
				counted.Negative++
			default:
				counted.Hits++
			}
			return answer, nil
		}
		var stale *larderpb.Found
		readable := false
		if one != nil && !fresh && !request.NoCache &&
			f.staleFor(one, one.keptUntil, request.MaxStale) {
			stale = f.foundOf(one, false)
			readable = f.staleFor(one, one.staleUntil, request.MaxStale)
		}
		if request.OnlyIfCached {
			return &larderpb.GetOrFetchResponse{
				Outcome: &larderpb.GetOrFetchResponse_NotCached{NotCached: &larderpb.NotCached{}},
			}, nil
		}
		if settings.Origin != nil {
			return f.ask(settings, at, request, stale)
		}
		if remaining, cause := f.failedBackoff(at); remaining > 0 {
			answer := &larderpb.GetOrFetchResponse{
				FetchStatus: larderpb.FetchStatus_FETCH_STATUS_FAILED, Cause: cause,
			}
			if stale != nil {
				answer.Outcome = found(stale)
				return answer, nil
			}
			counted.Contended++
			answer.Outcome = contended(remaining)
			return answer, nil
		}
		if !f.busy(at) {
			counted.Misses++
			counted.LeasesGranted++
			token, expiresIn := f.grant(at)
			return &larderpb.GetOrFetchResponse{Outcome: leased(token, expiresIn, stale, readable)}, nil
		}
		if readable {
			counted.Stale++
			return &larderpb.GetOrFetchResponse{
				Outcome:     found(stale),
				FetchStatus: larderpb.FetchStatus_FETCH_STATUS_REFRESHING,
			}, nil
		}
		if !waited {
			counted.LeasesRefused++
		}
		left := time.Until(waitUntil)
		if left <= 0 {
			counted.Contended++
			return &larderpb.GetOrFetchResponse{Outcome: contended(contendedRetry)}, nil
		}
		if err := f.wait(ctx, at, left); err != nil {
			return nil, status.FromContextError(err).Err()
		}
	}
}

func found(one *larderpb.Found) *larderpb.GetOrFetchResponse_Found {
	return &larderpb.GetOrFetchResponse_Found{Found: one}
}

func contended(retryAfter time.Duration) *larderpb.GetOrFetchResponse_Contended {
	return &larderpb.GetOrFetchResponse_Contended{
		Contended: &larderpb.Contended{RetryAfter: wire(retryAfter)},
	}
}

func leased(
	token []byte, expiresIn time.Duration, stale *larderpb.Found, meanwhile bool,
) *larderpb.GetOrFetchResponse_Lease {
	return &larderpb.GetOrFetchResponse_Lease{Lease: &larderpb.Lease{
		Token: token, ExpiresIn: wire(expiresIn), Stale: stale, StaleWhileRevalidate: meanwhile,
	}}
}

// ask asks the origin of a namespace, which is a function of the test.
func (f *Fake) ask(
	settings Namespace, at place, request *larderpb.GetOrFetchRequest, stale *larderpb.Found,
) (*larderpb.GetOrFetchResponse, error) {
	f.mu.Unlock()
	value, err := settings.Origin(request.Key, request.Params)
	f.mu.Lock()
	if err != nil {
		if stale != nil {
			return &larderpb.GetOrFetchResponse{
				Outcome: found(stale), Cause: err.Error(),
				FetchStatus: larderpb.FetchStatus_FETCH_STATUS_FAILED,
			}, nil
		}
		return nil, failure(codes.Unavailable, "ORIGIN_UNAVAILABLE",
			"the origin of "+at.namespace+" failed: "+err.Error(),
			map[string]string{"origin": at.namespace, "cause": err.Error()}, 0)
	}
	stored := f.put(at, value, 0, nil)
	f.changed(at, superseded)
	fetched := f.foundOf(stored, true)
	fetched.Entry.Tier = larderpb.Tier_TIER_ORIGIN
	return &larderpb.GetOrFetchResponse{
		Outcome: found(fetched), FetchStatus: larderpb.FetchStatus_FETCH_STATUS_FETCHED,
		Fill: larderpb.FillResult_FILL_RESULT_STORED,
	}, nil
}

// BatchGetOrFetch is the call of the service. It waits for others only while it has no lease.
func (s *service) BatchGetOrFetch(
	request *larderpb.BatchGetOrFetchRequest, stream larderpb.CacheService_BatchGetOrFetchServer,
) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := stream.Context()
	ask := func(key *larderpb.KeyRef, wait *durationpb.Duration) (
		*larderpb.GetOrFetchResponse, error,
	) {
		return s.getOrFetch(ctx, &larderpb.GetOrFetchRequest{
			Namespace: key.Namespace, Key: key.Key, Params: key.Params,
			MaxStale: request.MaxStale, Wait: wait, NoCache: request.NoCache,
			OnlyIfCached: request.OnlyIfCached, Consistency: request.Consistency,
			Touch: request.Touch,
		})
	}
	answers := make([]*larderpb.BatchGetOrFetchResult, len(request.Keys))
	hasLease := false
	for i, key := range request.Keys {
		answer, err := ask(key, durationpb.New(0))
		if err != nil {
			if status.Code(err) != codes.Unavailable {
				return err
			}
			answers[i] = &larderpb.BatchGetOrFetchResult{
				Result: &larderpb.BatchGetOrFetchResult_Error{
					Error: &larderpb.FetchError{Message: status.Convert(err).Message()},
				},
			}
			continue
		}
		hasLease = hasLease || answer.GetLease() != nil
		answers[i] = &larderpb.BatchGetOrFetchResult{
			Result: &larderpb.BatchGetOrFetchResult_Answer{Answer: answer},
		}
	}
	for i, key := range request.Keys {
		if hasLease || answers[i].GetAnswer().GetContended() == nil {
			continue
		}
		answer, err := ask(key, request.Wait)
		if err != nil {
			return err
		}
		hasLease = answer.GetLease() != nil
		answers[i] = &larderpb.BatchGetOrFetchResult{
			Result: &larderpb.BatchGetOrFetchResult_Answer{Answer: answer},
		}
	}
	return sendParts(answers, func(part []*larderpb.BatchGetOrFetchResult) error {
		return stream.Send(&larderpb.BatchGetOrFetchResponse{Results: part})
	})
}

// sendParts splits results into messages of about 1 MiB.
func sendParts[R proto.Message](results []R, send func([]R) error) error {
	const limit = 1 << 20
	for len(results) > 0 {
		end, bytes := 0, 0
		for end < len(results) && (end == 0 || bytes < limit) {
			bytes += proto.Size(results[end])
			end++
		}
		if err := send(results[:end]); err != nil {
			return err
		}
		results = results[end:]
	}
	return nil
}
