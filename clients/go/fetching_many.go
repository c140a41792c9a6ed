package larder

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"larder.test/clients/go/larderpb"
)

// GetOrFetchMany reads several values; the loader computes those that are missing, together. The
// map has a result for each of the keys; one without a value in the answer of the loader is a miss.
func (c *Cache[T]) GetOrFetchMany(
	ctx context.Context, keys []string, loader ManyLoader[T], options ...FetchManyOption,
) (map[string]Result[T], error) {
	return c.GetOrFetchManyLoaded(ctx, keys, loader.plain(), options...)
}

// GetOrFetchManyLoaded is GetOrFetchMany with values that decide how they are cached.
func (c *Cache[T]) GetOrFetchManyLoaded(
	ctx context.Context, keys []string, loader ManyLoaderOf[T], options ...FetchManyOption,
) (map[string]Result[T], error) {
	var o callOptions
	for _, option := range options {
		option.forFetchMany(&o)
	}
	all, err := o.wantedKeys(keys)
	if err != nil {
		return nil, err
	}
	if err := c.core.caller.checkOpen(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	ctx, end, err := c.core.running.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	// Close waits for the leases that this call gives up.
	defer c.core.background.track()()
	budget := c.core.limits.wait
	if o.wait != nil {
		budget = *o.wait
	}
	many := &fetchMany[T]{
		c: c, loader: loader, o: &o, deadline: time.Now().Add(budget),
		results: make(map[string]Result[T], len(all)),
	}
	for len(all) > 0 {
		part := all[:min(batchKeys, len(all))]
		all = all[len(part):]
		if err := many.part(ctx, part); err != nil {
			var panicked *PanicError
			if errors.As(err, &panicked) {
				panic(panicked)
			}
			return nil, err
		}
	}
	return many.results, nil
}

// fetchMany is one call of GetOrFetchMany.
type fetchMany[T any] struct {
	c        *Cache[T]
	loader   ManyLoaderOf[T]
	o        *callOptions
	deadline time.Time
	results  map[string]Result[T]
}

// missingKey is a key that is missing, and how its value is stored once it is computed.
type missingKey[T any] struct {
	wanted
	lease *heldLease
	// why the value is not stored, for a key without a lease.
	why   Write
	stale *Result[T]
}

// asked is what a call has left to do.
type asked[T any] struct {
	missing    []missingKey[T]
	contended  []wanted
	retryAfter time.Duration
}

func (f *fetchMany[T]) part(ctx context.Context, part []wanted) error {
	for first := true; len(part) > 0; first = false {
		left, err := f.ask(ctx, part, first)
		if err != nil {
			for _, each := range left.missing {
				if each.lease != nil {
					each.lease.passOn()
				}
			}
			return err
		}
		if err := f.load(ctx, left.missing); err != nil || len(left.contended) == 0 {
			return err
		}
		part = left.contended
		if time.Now().Add(left.retryAfter).Before(f.deadline) {
			if err := sleep(ctx, left.retryAfter); err != nil {
				return err
			}
			continue
		}
		if f.loader != nil {
			late := make([]missingKey[T], len(part))
			for i, each := range part {
				late[i] = missingKey[T]{wanted: each, why: Write{Reason: NotStored}}
			}
			return f.load(ctx, late)
		}
		for _, each := range part {
			f.results[each.key] = Result[T]{}
		}
		return nil
	}
	return nil
}

// ask asks the server once, and keeps what it answers.
func (f *fetchMany[T]) ask(ctx context.Context, part []wanted, first bool) (asked[T], error) {
	c := f.c
	wait := min(c.core.limits.wait, max(0, time.Until(f.deadline)))
	fields := f.o.readFields(false)
	request := &larderpb.BatchGetOrFetchRequest{
		Keys: c.keyRefs(part), MaxStale: fields.maxStale, Consistency: fields.consistency,
		Touch: fields.touch, Wait: toWire(wait), NoCache: f.o.refresh,
	}
	spec := c.spec("BatchGetOrFetch", nil, true, true)
	spec.timeout = wait + c.core.limits.waitMargin
	messages, err := collect(
		ctx, c.core.caller, spec, larderpb.CacheServiceClient.BatchGetOrFetch, request,
	)
	left := asked[T]{retryAfter: Forever}
	if err != nil {
		if ctx.Err() != nil || !c.failsOpen(err) {
			return left, err
		}
		for _, each := range part {
			f.away(&left, each, err)
		}
		return left, nil
	}
	var answers []*larderpb.BatchGetOrFetchResult
	for _, message := range messages {
		answers = append(answers, message.Results...)
	}
	for i, each := range part {
		if err := f.take(ctx, &left, each, at(answers, i), first); err != nil {
			return left, err
		}
	}
	return left, nil
}

// take keeps the answer for one key.
func (f *fetchMany[T]) take(
	ctx context.Context, left *asked[T], each wanted, result *larderpb.BatchGetOrFetchResult,
	first bool,
) error {
	c := f.c
	if failed := result.GetError(); failed != nil {
		err := &Error{
			Code: codes.Unavailable, Reason: failed.Reason, Message: failed.Message,
			RetryAfter: asDuration(failed.RetryAfter),
		}
		if !c.failsOpen(err) {
			return err
		}
		f.away(left, each, err)
		return nil
	}
	answer := result.GetAnswer()
	if found := answer.GetFound(); found != nil {
		read, _ := readResult(&c.scope, c.codec, answered{
			found.Outcome, found.Value, found.Entry, answer.Degraded,
		})
		if read.Outcome != Miss || f.loader == nil {
			f.results[each.key] = read
			return nil
		}
		// A value that cannot be decoded is computed; another call replaces the one in the cache.
		left.missing = append(left.missing, missingKey[T]{
			wanted: each, why: Write{Reason: NotStored, Err: read.Err},
		})
		return nil
	}
	if first {
		c.count.misses.Add(1)
	}
	if lease := answer.GetLease(); lease != nil {
		f.leased(ctx, left, each, lease, answer.Degraded)
		return nil
	}
	left.contended = append(left.contended, each)
	if delay, contended := contendedDelay(answer); contended {
		left.retryAfter = min(left.retryAfter, delay)
	}
	return nil
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
	ctx context.Context, left *asked[T], each wanted, lease *larderpb.Lease, degraded bool,
) {
	missing := missingKey[T]{wanted: each}
	if lease.Stale != nil {
		read, _ := readResult(&f.c.scope, f.c.codec, answered{
			lease.Stale.Outcome, lease.Stale.Value, lease.Stale.Entry, degraded,
		})
		if read.Found() {
			missing.stale = &read
		}
	}
	if degraded {
		missing.why = Write{Reason: Degraded, Degraded: true}
	} else {
		missing.lease = hold(ctx, &f.c.scope, each.at, lease)
	}
	if f.loader != nil {
		left.missing = append(left.missing, missing)
		return
	}
	if missing.lease != nil {
		missing.lease.passOn()
	}
	f.results[each.key] = f.missOr(missing.stale, degraded)
}

func (f *fetchMany[T]) missOr(stale *Result[T], degraded bool) Result[T] {
	if stale != nil {
		return *stale
	}
	return Result[T]{Degraded: degraded}
}

// load computes what is missing: stale values in the background, if there is room for that.
func (f *fetchMany[T]) load(ctx context.Context, missing []missingKey[T]) error {
	var now, later []missingKey[T]
	for _, each := range missing {
		if each.stale == nil {
			now = append(now, each)
			continue
		}
		f.results[each.key] = *each.stale
		later = append(later, each)
	}
	if len(later) > 0 {
		refresh := &fetchMany[T]{c: f.c, loader: f.loader, o: f.o, results: map[string]Result[T]{}}
		started := f.c.core.background.start(ctx, func(ctx context.Context) {
			if err := refresh.compute(ctx, later); err != nil && ctx.Err() == nil {
				f.c.core.logger.Warn("larder: stale values are not refreshed",
					"namespace", f.c.namespace, "error", err)
			}
		})
		if !started {
			now = append(now, later...)
		}
	}
	if len(now) == 0 {
		return nil
	}
	return f.compute(ctx, now)
}

func (f *fetchMany[T]) compute(ctx context.Context, missing []missingKey[T]) error {
	f.c.count.loads.Add(1)
	keys := make([]string, len(missing))
	for i, each := range missing {
		keys[i] = each.key
	}
	values, err := untilEnded(ctx, func(ctx context.Context) (map[string]Loaded[T], error) {
		return f.loader(ctx, keys)
	})
	if err != nil {
		return f.uncomputed(ctx, missing, err)
	}
	stored, err := f.store(ctx, missing, values)
	if err != nil {
		return err
	}
	for _, each := range missing {
		value, ok := values[each.key]
		if !ok {
			f.results[each.key] = f.missOr(each.stale, false)
			continue
		}
		fill := each.why
		if each.lease != nil {
			fill = stored[each.key]
		}
		f.results[each.key] = loadedResult(
			value.Value, fill, value.options.tags, fill.Degraded, fill.Err,
		)
	}
	return nil
}

// uncomputed gives the leases of a failed computation up.
func (f *fetchMany[T]) uncomputed(
	ctx context.Context, missing []missingKey[T], err error,
) error {
	cancelled := ctx.Err() != nil
	allStale := true
	for _, each := range missing {
		allStale = allStale && each.stale != nil
		switch {
		case each.lease == nil:
		case cancelled:
			each.lease.passOn()
		default:
			each.lease.abandon(errorName(err))
		}
	}
	if cancelled {
		return err
	}
	f.c.count.loadErrors.Add(1)
	if !allStale {
		return err
	}
	for _, each := range missing {
		result := *each.stale
		result.Err = err
		f.results[each.key] = result
	}
	return nil
}
