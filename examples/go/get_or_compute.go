// Package getorcompute is GetOrFetch with a lease, for values that the application computes: one
// caller computes, all others wait for its value. Copy this file, and change the import of the stubs.
package getorcompute

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/app/gen/larder/v1"
)

// short is the time limit for calls that must not hold the application up.
const short = 500 * time.Millisecond

// ComputeFailed reports that the last computation failed, and that none is due before the back-off
// is over.
type ComputeFailed struct{ Cause string }

func (e *ComputeFailed) Error() string { return "the value cannot be computed: " + e.Cause }

// Value names a value in Larder.
type Value struct {
	Namespace, Key string
	Params         map[string]string
	// TTL is that of the namespace if it is zero.
	TTL time.Duration
}

// GetOrCompute returns the cached value, or the one that this caller or another one computes. A nil
// pointer means that there is no such value, and is cached too. The context should have a deadline.
// compute must end within the namespace's lease_ttl (10 s); use FetchStream for longer ones.
func GetOrCompute[T any](
	ctx context.Context, larder pb.CacheServiceClient, name Value,
	compute func(context.Context) (*T, error),
) (*T, error) {
	for {
		request := &pb.GetOrFetchRequest{Namespace: name.Namespace, Key: name.Key, Params: name.Params}
		if deadline, ok := ctx.Deadline(); ok {
			// The server answers a little before the deadline, with `contended`.
			request.Wait = durationpb.New(time.Until(deadline))
		}
		answer, err := larder.GetOrFetch(ctx, request)
		if err != nil {
			// The caller has gone, or its time is over: the deadline is that of the context.
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if status.Code(err) == codes.DeadlineExceeded {
				return nil, context.DeadlineExceeded
			}
			if isUnavailable(err) {
				return compute(ctx)
			}
			return nil, err
		}
		switch outcome := answer.Outcome.(type) {
		case *pb.GetOrFetchResponse_Found:
			return valueOf[T](outcome.Found)
		case *pb.GetOrFetchResponse_Contended:
			if answer.FetchStatus == pb.FetchStatus_FETCH_STATUS_FAILED {
				return nil, &ComputeFailed{answer.Cause}
			}
			select {
			case <-time.After(outcome.Contended.RetryAfter.AsDuration()):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case *pb.GetOrFetchResponse_Lease:
			// Redis is down: no caller holds the lease, and nothing would be stored.
			if answer.Degraded {
				return compute(ctx)
			}
			return computeUnder(ctx, larder, name, outcome.Lease, compute)
		default:
			return nil, fmt.Errorf("unexpected answer: %v", answer)
		}
	}
}

func computeUnder[T any](
	ctx context.Context, larder pb.CacheServiceClient, name Value, lease *pb.Lease,
	compute func(context.Context) (*T, error),
) (*T, error) {
	// The lease must go back even if the context ends, or compute panics: otherwise the others wait
	// until it expires.
	holds := true
	defer func() {
		if holds {
			abandon(ctx, larder, name, lease, "panic")
		}
	}()
	value, err := compute(ctx)
	var encoded []byte
	if err == nil {
		// Here, so that a value that is not JSON gives the lease back as well.
		encoded, err = json.Marshal(value)
	}
	holds = false
	if err != nil {
		// Callers that wait receive the reason, so it must not contain secrets. At most 256 bytes.
		abandon(ctx, larder, name, lease, fmt.Sprintf("%T", err))
		if lease.Stale != nil && ctx.Err() == nil {
			return valueOf[T](lease.Stale)
		}
		return nil, err
	}
	fill := &pb.SetRequest{
		Namespace: name.Namespace, Key: name.Key, Params: name.Params, LeaseToken: lease.Token,
		Value: &pb.Value{Kind: &pb.Value_Json{Json: string(encoded)}},
	}
	if name.TTL > 0 {
		fill.Ttl = durationpb.New(name.TTL)
	}
	setting, cancel := context.WithTimeout(context.WithoutCancel(ctx), short)
	defer cancel()
	if _, err := larder.Set(setting, fill); err != nil {
		// The value is right, although it is not stored, as one that is too large. The others must
		// not wait for it.
		abandon(ctx, larder, name, lease, status.Code(err).String())
	}
	return value, nil
}

func abandon(
	ctx context.Context, larder pb.CacheServiceClient, name Value, lease *pb.Lease, reason string,
) {
	// A caller that has gone passes the lease on, without the back-off of a failure.
	cancelled := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), short)
	defer cancel()
	_, _ = larder.Abandon(ctx, &pb.AbandonRequest{
		Namespace: name.Namespace, Key: name.Key, Params: name.Params, LeaseToken: lease.Token,
		Reason: reason, PassOn: cancelled,
	})
}

func valueOf[T any](found *pb.Found) (*T, error) {
	if found.Outcome == pb.Outcome_OUTCOME_NEGATIVE {
		return nil, nil
	}
	var value *T
	err := json.Unmarshal([]byte(found.Value.GetJson()), &value)
	return value, err
}

// isUnavailable returns whether Larder is down or overloaded: the application must not be. Other
// errors, such as InvalidArgument, are mistakes of the caller.
func isUnavailable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted:
		return true
	default:
		return false
	}
}
