package larder

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// flightID is equal for calls that can share a computation.
type flightID struct {
	namespace string
	entry     entryID
	// kind separates calls that read differently.
	kind struct {
		loader, consistent, maxStaleSet, raise bool
		maxStale, sliding                      time.Duration
	}
	// codec is comparable, and names the type of the value.
	codec any
	// refresh is not zero for a call whose value must not be one whose computation began before it.
	refresh uint64
}

// flightResult is what a computation came to: a Result, an error, or the panic of a loader, which
// its callers repeat.
type flightResult struct {
	result   any
	err      error
	panicked *PanicError
	// lasting: it is an answer to calls that began after the computation. A value that was read or
	// computed before an invalidation is none, and only a stored fill proves that there was none.
	lasting bool
}

// flight is one computation.
type flight struct {
	id     flightID
	key    string
	done   chan struct{}
	cancel context.CancelCauseFunc
	// result is valid when done is closed.
	result flightResult

	// The lock of flights guards these.
	callers int
	ended   bool
	// next is the computation of those that joined and could not use the result of this one.
	next *flight
}

// flights are the computations of this process: later calls for a key join the first.
type flights struct {
	mu      sync.Mutex
	flights map[flightID]*flight
	// running are all computations, also those that are not joined any more.
	running map[*flight]struct{}
	closed  bool
}

// passenger is a call that may join.
type passenger struct {
	id  flightID
	key string
	// timeout is for the computation of another call; nil: no limit.
	timeout *time.Duration
	// compute receives a context that ends when all callers have left.
	compute func(context.Context) flightResult
}

// run computes, or joins a computation. late: the one that it joined takes too long.
func (f *flights) run(
	ctx context.Context, p passenger,
) (found flightResult, joined, late bool, err error) {
	if ctx.Err() != nil {
		return found, false, false, ended(ctx)
	}
	f.mu.Lock()
	running := f.flights[p.id]
	if running == nil {
		if running, err = f.start(ctx, p); err != nil {
			f.mu.Unlock()
			return found, false, false, err
		}
		f.mu.Unlock()
		found, _, err = f.wait(ctx, running, nil)
		return found, false, false, err
	}
	running.callers++
	f.mu.Unlock()
	var timer *time.Timer
	var over <-chan time.Time
	if p.timeout != nil {
		timer = time.NewTimer(*p.timeout)
		defer timer.Stop()
		over = timer.C
	}
	found, late, err = f.wait(ctx, running, over)
	if err != nil || late || found.err != nil || found.panicked != nil || found.lasting {
		return found, true, late, err
	}
	// All that joined ask again, together: what began after them is an answer to them.
	f.mu.Lock()
	if running.next == nil || running.next.ended {
		running.next = f.flights[p.id]
	}
	if running.next == nil {
		running.next, err = f.start(ctx, p)
		next := running.next
		f.mu.Unlock()
		if err != nil {
			return found, false, false, err
		}
		found, _, err = f.wait(ctx, next, nil)
		return found, false, false, err
	}
	next := running.next
	next.callers++
	f.mu.Unlock()
	found, late, err = f.wait(ctx, next, over)
	return found, true, late, err
}

// wait is for the end of a computation, which ends when the last that waits has left.
func (f *flights) wait(
	ctx context.Context, running *flight, over <-chan time.Time,
) (found flightResult, late bool, err error) {
	select {
	case <-running.done:
		return running.result, false, nil
	case <-over:
		f.leave(running, context.Canceled)
		return found, true, nil
	case <-ctx.Done():
		f.leave(running, context.Cause(ctx))
		return found, false, ended(ctx)
	}
}

func (f *flights) leave(left *flight, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left.callers--
	if left.callers == 0 {
		f.end(left, cause)
	}
}

// end cancels a computation. The next call does not join it.
func (f *flights) end(ending *flight, cause error) {
	ending.ended = true
	if f.flights[ending.id] == ending {
		delete(f.flights, ending.id)
	}
	ending.cancel(cause)
}

func (f *flights) start(caller context.Context, p passenger) (*flight, error) {
	if f.closed {
		return nil, closedError()
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(caller))
	begun := &flight{id: p.id, key: p.key, done: make(chan struct{}), cancel: cancel, callers: 1}
	if f.flights == nil {
		f.flights, f.running = map[flightID]*flight{}, map[*flight]struct{}{}
	}
	f.flights[p.id] = begun
	f.running[begun] = struct{}{}
	go func() {
		defer cancel(nil)
		// A codec that panics or ends the goroutine must not leave those behind that wait.
		result := flightResult{err: errGoexit}
		defer func() {
			if panicked := recover(); panicked != nil {
				result = flightResult{panicked: newPanicError(panicked)}
			}
			f.finish(begun, result, ctx.Err() != nil)
		}()
		result = p.compute(ctx)
	}()
	return begun, nil
}

func (f *flights) finish(done *flight, result flightResult, cancelled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done.result = result
	done.ended = done.ended || cancelled
	if f.flights[done.id] == done {
		delete(f.flights, done.id)
	}
	delete(f.running, done)
	close(done.done)
}

// forget makes later calls not join the computations of now: what they compute was invalidated. An
// empty namespace is all of them.
func (f *flights) forget(namespace string, concerns func(key string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, each := range f.flights {
		if (namespace == "" || id.namespace == namespace) && concerns(each.key) {
			delete(f.flights, id)
		}
	}
}

// close cancels all computations, and waits for their ends.
func (f *flights) close(cause error) {
	f.mu.Lock()
	f.closed = true
	all := slices.Collect(maps.Keys(f.running))
	for _, each := range all {
		f.end(each, cause)
	}
	f.mu.Unlock()
	for _, each := range all {
		<-each.done
	}
}
