package larder

import (
	"context"
	"time"
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
		c: c, loader: loader, o: &o, refresh: o.refresh, deadline: time.Now().Add(budget),
		results: make(map[string]Result[T], len(all)),
	}
	if near := c.nearFor(&o); near != nil && !o.refresh {
		all = nearGetMany(c, all, many.results)
	}
	err = many.all(ctx, all, true)
	if err == nil && len(many.undecodable) > 0 {
		// They are computed anew. Values of others that cannot be decoded stay then.
		many.refresh = true
		err = many.all(ctx, many.undecodable, false)
	}
	if err != nil && ctx.Err() != nil {
		return nil, ended(ctx)
	}
	if panicked, ok := err.(loaderPanic); ok {
		panic(panicked.PanicError)
	}
	if err != nil {
		return nil, err
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
	// refresh: values that are there are no answers.
	refresh bool
	// undecodable are keys with values that the codec cannot read.
	undecodable []wanted
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

// all answers for the keys. first: they were not asked for before, and count as misses.
func (f *fetchMany[T]) all(ctx context.Context, all []wanted, first bool) error {
	for len(all) > 0 {
		part := all[:min(batchKeys, len(all))]
		all = all[len(part):]
		if err := f.part(ctx, part, first); err != nil {
			return err
		}
	}
	return nil
}

func (f *fetchMany[T]) part(ctx context.Context, part []wanted, first bool) error {
	for ; len(part) > 0; first = false {
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
	if len(later) > 0 && f.inBackground(ctx, later) {
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

// inBackground computes, where no caller sees an error. False: there is no room.
func (f *fetchMany[T]) inBackground(parent context.Context, missing []missingKey[T]) bool {
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
			value.Value, fill, f.c.tagsOf(f.o, value.options.tags), each.why.Degraded, each.why.Err,
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
