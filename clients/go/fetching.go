package larder

import (
	"context"
	"errors"
	"sync/atomic"

	"larder.test/clients/go/larderpb"
)

var lastRefresh atomic.Uint64

// fetch is one computation: what it needs from its first caller.
type fetch[T any] struct {
	c      *Cache[T]
	at     address
	loader LoaderOf[T]
	o      callOptions
	search search
	// last is the last answer of the server.
	last fetched[T]
}

// GetOrFetch reads a value; one that is missing is computed. Of all calls in all processes that
// need the value at the same time, one runs its loader, and the others receive its result. Without
// a loader (nil), the origin that the server has for the namespace is asked.
//
// Calls of this process that join another one have its value, not a copy of it, also if that was in
// the cache: a value that can be changed, such as a slice or a map, must not be.
//
// An error of the loader is returned as it is. A cache that is away, slow or full is none: the
// loader runs, and nothing is stored. The end of ctx ends the call, and the loader with it unless
// other calls wait for it.
func (c *Cache[T]) GetOrFetch(
	ctx context.Context, key string, loader Loader[T], options ...FetchOption,
) (Result[T], error) {
	return c.GetOrFetchLoaded(ctx, key, loader.plain(), options...)
}

// Fetch is GetOrFetch for programs that need the value alone. The error is [ErrNoValue] if there is
// none.
func (c *Cache[T]) Fetch(
	ctx context.Context, key string, loader Loader[T], options ...FetchOption,
) (T, error) {
	result, err := c.GetOrFetch(ctx, key, loader, options...)
	if err == nil && !result.Found() {
		err = ErrNoValue
		if result.Err != nil {
			err = errors.Join(ErrNoValue, result.Err)
		}
	}
	return result.Value, err
}

// Fetch is [Cache.Fetch] of a namespace with values of one type, in the format of [Auto].
func Fetch[T any](
	ctx context.Context, namespace *Namespace, key string, loader Loader[T],
	options ...FetchOption,
) (T, error) {
	return Of[T](namespace).Fetch(ctx, key, loader, options...)
}

// GetOrFetchLoaded is GetOrFetch with a loader whose value decides how it is cached.
func (c *Cache[T]) GetOrFetchLoaded(
	ctx context.Context, key string, loader LoaderOf[T], options ...FetchOption,
) (Result[T], error) {
	one := &fetch[T]{c: c, loader: loader}
	o := &one.o
	for _, option := range options {
		option.forFetch(o)
	}
	var err error
	if one.at, err = o.address(key); err != nil {
		return Result[T]{}, err
	}
	if err := c.core.caller.checkOpen(); err != nil {
		return Result[T]{}, err
	}
	id := one.at.id()
	if near := c.nearFor(o); near != nil && !o.refresh {
		if found, ok := nearGet(c, id); ok {
			return found, nil
		}
	}
	found, joined, late, err := c.core.flights.run(ctx, passenger{
		id: one.id(id), key: one.at.key, timeout: o.wait, compute: one,
	})
	switch {
	case late:
		if found, err = one.late(ctx); err != nil {
			return Result[T]{}, err
		}
		joined = false
	case err != nil:
		return Result[T]{}, err
	}
	if found.panicked != nil {
		panic(found.panicked)
	}
	if found.err != nil {
		return Result[T]{}, found.err
	}
	result := *found.result.(*Result[T])
	if joined {
		if result.Tier == TierLoader {
			c.count.joined.Add(1)
		}
		result.Joined = true
	}
	return result, nil
}

// id is equal for calls of this process that can share a computation.
func (f *fetch[T]) id(entry entryID) flightID {
	id := flightID{namespace: f.c.namespace, entry: entry, codec: f.c.codecID}
	if f.o.refresh {
		// Its value must not be one whose computation began before it.
		id.refresh = lastRefresh.Add(1)
	}
	id.kind.loader, id.kind.consistent = f.loader != nil, f.o.consistent
	// An outage is the error of all callers or of none.
	id.kind.raise = f.c.raise
	if f.o.maxStale != nil {
		id.kind.maxStaleSet, id.kind.maxStale = true, *f.o.maxStale
	}
	if f.o.sliding != nil {
		id.kind.sliding = *f.o.sliding
	}
	return id
}

// settle is the result of a computation for all that wait for it.
func settle[T any](result *Result[T], err error) flightResult {
	if panicked, ok := err.(loaderPanic); ok {
		return flightResult{panicked: panicked.PanicError}
	}
	stored := result.Fill != nil && result.Fill.Stored
	return flightResult{result: result, err: err, lasting: result.Degraded || stored}
}

// late is the answer of a call for which the computation that it joined takes too long.
func (f *fetch[T]) late(parent context.Context) (flightResult, error) {
	f.c.count.misses.Add(1)
	if f.loader == nil {
		return settle(&Result[T]{}, nil), nil
	}
	ctx, end, err := f.c.core.running.begin(parent)
	if err != nil {
		return flightResult{}, err
	}
	defer end()
	result, failed := f.unstored(ctx, Write{Reason: NotStored}, nil, nil)
	found := settle(&result, failed)
	if ctx.Err() != nil {
		return flightResult{}, ended(ctx)
	}
	return found, nil
}

func (f *fetch[T]) read(found *larderpb.Found, degraded bool) (Result[T], Encoded) {
	return readResult(&f.c.scope, f.c.codec, answered{
		found.Outcome, found.Value, found.Entry, degraded,
	})
}

// withoutCache is the answer at an outage, and the error otherwise.
func (f *fetch[T]) withoutCache(ctx context.Context, err error) (Result[T], error) {
	if ctx.Err() != nil || !f.c.failsOpen(err) {
		return Result[T]{}, err
	}
	if f.loader == nil {
		f.c.count.misses.Add(1)
		return Result[T]{Degraded: true, Err: err}, nil
	}
	return f.unstored(ctx, Write{Reason: Unavailable, Degraded: true, Err: err}, err, nil)
}

func (f *fetch[T]) leased(
	ctx context.Context, lease *larderpb.Lease, degraded bool,
) (Result[T], error) {
	var held *heldLease
	if !degraded {
		held = hold(ctx, &f.c.scope, f.at, lease)
	}
	inBackground := false
	defer func() {
		// Without a loader nothing computes the value here: a caller with one gets the lease. So it
		// is after a panic of the codec.
		if !inBackground {
			held.end()
		}
	}()
	var stale *Result[T]
	if lease.Stale != nil {
		if read, _ := f.read(lease.Stale, degraded); read.Found() {
			stale = &read
		}
	}
	switch {
	case f.loader == nil && stale != nil:
		return *stale, nil
	case f.loader == nil:
		return Result[T]{Degraded: degraded}, nil
	case degraded:
		return f.unstored(ctx, Write{Reason: Degraded, Degraded: true}, nil, stale)
	}
	// Another stale value is only a substitute if the loader fails.
	if stale != nil && lease.StaleWhileRevalidate {
		inBackground = f.c.core.background.start(ctx, func(ctx context.Context) {
			f.refreshed(ctx, held)
		})
		if inBackground {
			return *stale, nil
		}
	}
	return f.compute(ctx, held, stale)
}

// refreshed computes in the background, where no caller sees an error.
func (f *fetch[T]) refreshed(ctx context.Context, held *heldLease) {
	_, err := f.compute(ctx, held, nil)
	if err != nil && ctx.Err() == nil {
		f.c.core.logger.Warn("larder: a stale value is not refreshed",
			"namespace", f.c.namespace, "error", err)
	}
}

func (f *fetch[T]) compute(
	ctx context.Context, held *heldLease, stale *Result[T],
) (Result[T], error) {
	defer held.end()
	value, err := f.load(ctx)
	if err != nil {
		if ctx.Err() != nil {
			held.passOn()
			return Result[T]{}, err
		}
		held.abandon(errorName(err))
		return f.staleOr(stale, err)
	}
	fill := f.store(ctx, held, value)
	return loadedResult(value.Value, fill, f.c.tagsOf(&f.o, value.options.tags), false, nil), nil
}

// staleOr is the stale value with an error of the loader, or the error alone. It is no substitute
// after a panic.
func (f *fetch[T]) staleOr(stale *Result[T], err error) (Result[T], error) {
	if _, panicked := err.(loaderPanic); stale == nil || panicked {
		return Result[T]{}, err
	}
	result := *stale
	result.Err = err
	return result, nil
}

func (f *fetch[T]) store(ctx context.Context, held *heldLease, value Loaded[T]) Write {
	request, done, then := fillOf(held, f.c.codec, value, &f.o)
	if request == nil {
		held.after(then)
		return done
	}
	defer f.c.changing(f.at.key)()
	// The work is done, so that the value is stored although its callers may leave.
	spec := f.c.spec("Set", nil, false, false)
	answer, err := unary(context.WithoutCancel(ctx), f.c.core.caller, spec,
		larderpb.CacheServiceClient.Set, request)
	if err != nil {
		f.c.logUnfilled(err)
		return held.unfilled(err)
	}
	return held.filled(answer)
}

func (f *fetch[T]) load(ctx context.Context) (Loaded[T], error) {
	f.c.count.loads.Add(1)
	value, err := untilEnded(ctx, f.loader)
	if err != nil && ctx.Err() == nil {
		f.c.count.loadErrors.Add(1)
	}
	return value, err
}

// unstored computes without the cache.
func (f *fetch[T]) unstored(
	ctx context.Context, why Write, err error, stale *Result[T],
) (Result[T], error) {
	value, failure := f.load(ctx)
	if failure != nil {
		if ctx.Err() != nil {
			return Result[T]{}, failure
		}
		return f.staleOr(stale, failure)
	}
	tags := f.c.tagsOf(&f.o, value.options.tags)
	return loadedResult(value.Value, why, tags, why.Degraded, err), nil
}
