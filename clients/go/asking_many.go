package larder

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"larder.test/clients/go/larderpb"
)

// asked is what a call has left to do.
type asked[T any] struct {
	// pending are the reads for the near cache, one for each key; nil: none.
	pending    []*pendingRead
	missing    []missingKey[T]
	contended  []wanted
	retryAfter time.Duration
	// failed is the first error of a key that is not to be computed without the cache.
	failed error
}

// round asks the server once, and computes what it has leases for.
func (f *fetchMany[T]) round(
	ctx context.Context, part []wanted, first bool,
) (*asked[T], error) {
	near := f.c.nearFor(f.o)
	left := &asked[T]{retryAfter: Forever, pending: near.beginAll(part)}
	defer near.dropAll(left.pending)
	// No lease is left behind, whatever ends this: an error, a panic of a codec, the caller.
	defer func() { endLeases(left.missing) }()
	answers, err := f.ask(ctx, part, left.pending != nil)
	for i, result := range answers {
		if lease := result.GetAnswer().GetLease(); lease != nil {
			left.missing = append(left.missing, f.leased(ctx, part[i], result.GetAnswer()))
		}
	}
	if err != nil && (ctx.Err() != nil || !f.c.failsOpen(err)) {
		return left, err
	}
	leases := 0
	for i, result := range answers {
		if answer := result.GetAnswer(); answer.GetLease() != nil {
			f.readStale(&left.missing[leases], answer)
			leases++
			if first {
				f.c.count.misses.Add(1)
			}
			continue
		}
		f.take(left, part, i, result, first)
	}
	// Changes while the loader runs do not concern these reads.
	near.dropAll(left.pending)
	for _, each := range part[len(answers):] {
		if err == nil {
			// An answer that ends early has nothing for the rest.
			left.contended = append(left.contended, each)
			continue
		}
		f.away(left, each, err)
	}
	if left.failed != nil {
		return left, left.failed
	}
	return left, f.load(ctx, left)
}

// ask asks the server once. Of an answer that breaks off, what has come is returned with the error.
func (f *fetchMany[T]) ask(
	ctx context.Context, part []wanted, fresh bool,
) ([]*larderpb.BatchGetOrFetchResult, error) {
	c := f.c
	wait := min(c.core.limits.wait, max(0, time.Until(f.deadline)))
	fields := f.o.readFields(fresh)
	request := &larderpb.BatchGetOrFetchRequest{
		Keys: c.keyRefs(part), MaxStale: fields.maxStale, Consistency: fields.consistency,
		Touch: fields.touch, Wait: toWire(wait), NoCache: f.refresh,
	}
	spec := c.spec("BatchGetOrFetch", nil, true, true)
	spec.timeout = wait + c.core.limits.waitMargin
	// A call that was repeated would wait for the leases of the first.
	spec.begun = new(bool)
	messages, err := collect(
		ctx, c.core.caller, spec, larderpb.CacheServiceClient.BatchGetOrFetch, request,
	)
	var answers []*larderpb.BatchGetOrFetchResult
	for _, message := range messages {
		answers = append(answers, message.Results...)
	}
	return answers[:min(len(answers), len(part))], err
}

// take keeps an answer without a lease, that for the key i of the part.
func (f *fetchMany[T]) take(
	left *asked[T], part []wanted, i int, result *larderpb.BatchGetOrFetchResult, first bool,
) {
	c, each := f.c, part[i]
	if failed := result.GetError(); failed != nil {
		err := &Error{
			Code: codes.Unavailable, Reason: failed.Reason, Message: failed.Message,
			RetryAfter: asDuration(failed.RetryAfter),
		}
		if c.failsOpen(err) {
			f.away(left, each, err)
		} else if left.failed == nil {
			left.failed = err
		}
		return
	}
	answer := result.GetAnswer()
	if found := answer.GetFound(); found != nil {
		read, encoded := readResult(&c.scope, c.codec, answered{
			found.Outcome, found.Value, found.Entry, answer.Degraded,
		})
		if left.pending != nil {
			nearPut(c, left.pending[i], read, encoded)
		}
		switch {
		case read.Outcome != Miss || f.loader == nil:
			f.results[each.key] = read
		case !f.refresh:
			f.undecodable = append(f.undecodable, each)
		default:
			// Another caller has stored it again in a form that this one cannot read.
			why := Write{Reason: NotStored, Degraded: answer.Degraded, Err: read.Err}
			left.missing = append(left.missing, missingKey[T]{wanted: each, why: why})
		}
		return
	}
	if first {
		c.count.misses.Add(1)
	}
	delay, contended := contendedDelay(answer)
	switch {
	case contended:
		left.contended = append(left.contended, each)
		left.retryAfter = min(left.retryAfter, delay)
	case f.loader == nil:
		f.results[each.key] = Result[T]{Degraded: answer.GetDegraded()}
	default:
		left.missing = append(left.missing, missingKey[T]{
			wanted: each, why: Write{Reason: NotStored, Degraded: answer.GetDegraded()},
		})
	}
}

func (f *fetchMany[T]) away(left *asked[T], each wanted, err error) {
	if f.loader == nil {
		f.c.count.misses.Add(1)
		f.results[each.key] = Result[T]{Degraded: true, Err: err}
		return
	}
	left.missing = append(left.missing, missingKey[T]{
		wanted: each, why: Write{Reason: Unavailable, Degraded: true, Err: err},
	})
}

func (f *fetchMany[T]) leased(
	ctx context.Context, each wanted, answer *larderpb.GetOrFetchResponse,
) missingKey[T] {
	if answer.Degraded {
		return missingKey[T]{wanted: each, why: Write{Reason: Degraded, Degraded: true}}
	}
	return missingKey[T]{wanted: each, lease: hold(ctx, &f.c.scope, each.at, answer.GetLease())}
}

func (f *fetchMany[T]) readStale(missing *missingKey[T], answer *larderpb.GetOrFetchResponse) {
	lease := answer.GetLease()
	if lease.Stale == nil {
		return
	}
	read, _ := readResult(&f.c.scope, f.c.codec, answered{
		lease.Stale.Outcome, lease.Stale.Value, lease.Stale.Entry, answer.Degraded,
	})
	if read.Found() {
		missing.stale = &read
		missing.meanwhile = lease.StaleWhileRevalidate && missing.lease != nil
	}
}
