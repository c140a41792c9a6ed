package larder

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"larder.test/clients/go/larderpb"
)

// shortestRetry is the time before a contended key is asked for again.
const shortestRetry = 10 * time.Millisecond

// search is how a computation asks the server.
type search struct {
	deadline time.Time
	// refresh: the value that is there is not wanted.
	refresh bool
	// asked: the server was asked before.
	asked bool
}

// fetched is an answer of the server, with the result if that is a value.
type fetched[T any] struct {
	answer *larderpb.GetOrFetchResponse
	err    error
	result Result[T]
	found  bool
}

func (f *fetch[T]) newSearch() search {
	budget := f.c.core.limits.wait
	if f.o.wait != nil {
		budget = *f.o.wait
	}
	return search{deadline: time.Now().Add(budget), refresh: f.o.refresh}
}

// final reports whether the result is that of the computation.
func (f *fetch[T]) final() bool {
	return f.last.found && (f.last.result.Outcome != Miss || f.loader == nil)
}

func (f *fetch[T]) first(ctx context.Context) (flightResult, rest) {
	f.begin(ctx)
	if f.final() || f.last.err != nil && ctx.Err() != nil {
		return settle(&f.last.result, f.last.err), nil
	}
	return flightResult{}, f.proceed
}

func (f *fetch[T]) run(ctx context.Context) flightResult {
	f.begin(ctx)
	return f.proceed(ctx)
}

func (f *fetch[T]) begin(ctx context.Context) {
	f.search = f.newSearch()
	f.ask(ctx)
}

func (f *fetch[T]) proceed(ctx context.Context) flightResult {
	result, err := f.find(ctx)
	return settle(&result, err)
}

// find goes on with an answer until there is a value.
func (f *fetch[T]) find(ctx context.Context) (Result[T], error) {
	last := &f.last
	for {
		answer := last.answer
		switch {
		case last.err != nil:
			return f.withoutCache(ctx, last.err)
		case f.final():
			return last.result, nil
		case last.found && f.search.refresh:
			// Another caller has stored it again in a form that this one cannot read.
			why := Write{Reason: NotStored, Degraded: answer.Degraded, Err: last.result.Err}
			return f.unstored(ctx, why, nil, nil)
		case last.found:
			// A value that cannot be decoded is replaced by one that can.
			f.search.refresh = true
			f.ask(ctx)
			continue
		}
		if lease := answer.GetLease(); lease != nil {
			return f.leased(ctx, lease, answer.Degraded)
		}
		var failed error
		if answer.Cause != "" {
			failed = errors.New(answer.Cause)
		}
		if f.loader == nil {
			return Result[T]{Degraded: answer.Degraded, Err: failed}, nil
		}
		delay, contended := contendedDelay(answer)
		if !contended || !time.Now().Add(delay).Before(f.search.deadline) {
			why := Write{Reason: NotStored, Degraded: answer.Degraded, Err: failed}
			return f.unstored(ctx, why, nil, nil)
		}
		if err := sleep(ctx, delay); err != nil {
			return Result[T]{}, err
		}
		f.ask(ctx)
	}
}

// contendedDelay is the time until a contended key is asked for again. An outcome that this release
// does not have is no reason to ask again.
func contendedDelay(answer *larderpb.GetOrFetchResponse) (time.Duration, bool) {
	contended := answer.GetContended()
	if contended == nil {
		return 0, false
	}
	share := 0.5 + 0.5*rand.Float64()
	delay := time.Duration(float64(asDuration(contended.RetryAfter)) * share)
	return max(shortestRetry, delay), true
}

// ask asks the server once.
func (f *fetch[T]) ask(ctx context.Context) {
	c, limits, s := f.c, f.c.core.limits, &f.search
	f.last = fetched[T]{}
	wait := min(limits.wait, max(0, time.Until(s.deadline)))
	var pending *pendingRead
	if near := c.nearFor(&f.o); near != nil {
		pending = near.begin(f.at.id())
		// Also after a panic of the codec.
		defer near.drop(pending)
	}
	fields := f.o.readFields(pending != nil)
	spec := c.spec("GetOrFetch", nil, true, true)
	spec.timeout = wait + limits.waitMargin
	answer, err := unary(ctx, c.core.caller, spec, larderpb.CacheServiceClient.GetOrFetch,
		&larderpb.GetOrFetchRequest{
			Namespace: c.namespace, Key: f.at.key, Params: f.at.params,
			MaxStale: fields.maxStale, Consistency: fields.consistency, Touch: fields.touch,
			Wait: toWire(wait), NoCache: s.refresh,
		})
	f.last.answer, f.last.err = answer, err
	if err != nil {
		return
	}
	if found := answer.GetFound(); found != nil {
		result, encoded := f.read(found, answer.Degraded)
		f.last.result, f.last.found = result, true
		nearPut(c, pending, result, encoded)
	} else if !s.asked {
		c.count.misses.Add(1)
	}
	s.asked = true
}
