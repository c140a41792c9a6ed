package larder

import (
	"context"
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
			if ctx.Err() != nil {
				return nil, ended(ctx)
			}
			if panicked, ok := err.(loaderPanic); ok {
				panic(panicked.PanicError)
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
	// meanwhile: stale may be the answer at once.
	meanwhile bool
}

func endLeases[T any](missing []missingKey[T]) {
	for _, each := range missing {
		each.lease.end()
	}
}

// asked is what a call has left to do.
type asked[T any] struct {
	missing    []missingKey[T]
	contended  []wanted
	retryAfter time.Duration
	// failed is the first error of a key that is not to be computed without the cache.
	failed error
}

func (f *fetchMany[T]) part(ctx context.Context, part []wanted) error {
	for first := true; len(part) > 0; first = false {
		left, err := f.round(ctx, part, first)
		if err != nil || len(left.contended) == 0 {
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
			return f.compute(ctx, late)
		}
		for _, each := range part {
			f.results[each.key] = Result[T]{}
		}
		return nil
	}
	return nil
}

// round asks the server once, and computes what it has leases for.
func (f *fetchMany[T]) round(
	ctx context.Context, part []wanted, first bool,
) (*asked[T], error) {
	left := &asked[T]{retryAfter: Forever}
	// No lease is left behind, whatever ends this: an error, a panic of a codec, the caller.
	defer func() { endLeases(left.missing) }()
	answers, err := f.ask(ctx, part)
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
		f.take(left, part[i], result, first)
	}
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
	ctx context.Context, part []wanted,
) ([]*larderpb.BatchGetOrFetchResult, error) {
	c := f.c
	wait := min(c.core.limits.wait, max(0, time.Until(f.deadline)))
	fields := f.o.readFields(false)
	request := &larderpb.BatchGetOrFetchRequest{
		Keys: c.keyRefs(part), MaxStale: fields.maxStale, Consistency: fields.consistency,
		Touch: fields.touch, Wait: toWire(wait), NoCache: f.o.refresh,
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

// take keeps an answer without a lease.
func (f *fetchMany[T]) take(
	left *asked[T], each wanted, result *larderpb.BatchGetOrFetchResult, first bool,
) {
	c := f.c
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
		read, _ := readResult(&c.scope, c.codec, answered{
			found.Outcome, found.Value, found.Entry, answer.Degraded,
		})
		if read.Outcome != Miss || f.loader == nil {
			f.results[each.key] = read
			return
		}
		// A value that cannot be decoded is computed; another call replaces the one in the cache.
		left.missing = append(left.missing, missingKey[T]{
			wanted: each, why: Write{Reason: NotStored, Err: read.Err},
		})
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

func (f *fetchMany[T]) missOr(stale *Result[T], degraded bool) Result[T] {
	if stale != nil {
		return *stale
	}
	return Result[T]{Degraded: degraded}
}

// load computes what is missing: in the background where a stale value is the answer, if there is
// room for that.
func (f *fetchMany[T]) load(ctx context.Context, left *asked[T]) error {
	if f.loader == nil {
		// Nothing computes the values here: a caller with a loader gets the leases.
		for _, each := range left.missing {
			f.results[each.key] = f.missOr(each.stale, each.why.Degraded)
		}
		return nil
	}
	var now, later []missingKey[T]
	for _, each := range left.missing {
		if each.meanwhile {
			later = append(later, each)
		} else {
			now = append(now, each)
		}
	}
	if len(later) > 0 && f.refresh(ctx, later) {
		for _, each := range later {
			f.results[each.key] = *each.stale
		}
		left.missing = now
	}
	if len(left.missing) == 0 {
		return nil
	}
	return f.compute(ctx, left.missing)
}

// refresh computes in the background, where no caller sees an error. False: there is no room.
func (f *fetchMany[T]) refresh(parent context.Context, missing []missingKey[T]) bool {
	own := &fetchMany[T]{c: f.c, loader: f.loader, o: f.o, results: map[string]Result[T]{}}
	return f.c.core.background.start(parent, func(ctx context.Context) {
		defer endLeases(missing)
		if err := own.compute(ctx, missing); err != nil && ctx.Err() == nil {
			f.c.core.logger.Warn("larder: stale values are not refreshed",
				"namespace", f.c.namespace, "error", err)
		}
	})
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
	stored := f.store(ctx, missing, values)
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
			value.Value, fill, value.options.tags, each.why.Degraded, each.why.Err,
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
	if _, panicked := err.(loaderPanic); panicked || !allStale {
		return err
	}
	for _, each := range missing {
		result := *each.stale
		result.Err = err
		f.results[each.key] = result
	}
	return nil
}
