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

// flightResult is what a computation came to: a pointer to a Result, an error, or the panic of a loader, which
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
	id  flightID
	key string

	// The lock of flights guards these.
	cancel  context.CancelCauseFunc
	callers int
	// ended: its context has. The cause is that of this end.
	ended bool
	cause error
	// over: there is a result. Those that wait for it read it when done is closed, which is there
	// once something waits.
	over   bool
	done   chan struct{}
	result flightResult
	// next is the computation of those that joined and could not use the result of this one.
	next *flight
}

// await makes the channel of those that wait. The lock is held.
func (f *flight) await() {
	if f.done != nil {
		return
	}
	f.done = make(chan struct{})
	if f.over {
		close(f.done)
	}
}

// flights are the computations of this process: later calls for a key join the first.
type flights struct {
	mu      sync.Mutex
	flights map[flightID]*flight
	// running are all computations, also those that are not joined any more.
	running map[*flight]struct{}
	closed  bool
}

// computation makes a result. Its contexts end when all callers have left.
type computation interface {
	// first takes the first step, in the goroutine of a caller: its context ends with that caller,
	// too. The rest is what is left to do; nil: there is the result.
	first(ctx context.Context) (found flightResult, rest rest)
	// run takes all steps.
	run(ctx context.Context) flightResult
}

type rest func(context.Context) flightResult

// passenger is a call that may join.
type passenger struct {
	id  flightID
	key string
	// timeout is for the computation of another call; nil: no limit.
	timeout *time.Duration
	compute computation
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
		found, err = f.begin(ctx, p, nil)
		return found, false, false, err
	}
	running.callers++
	running.await()
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
		found, err = f.begin(ctx, p, running)
		return found, false, false, err
	}
	next := running.next
	next.callers++
	next.await()
	f.mu.Unlock()
	found, late, err = f.wait(ctx, next, over)
	return found, true, late, err
}

// begin computes for a call, and for those that join it. The lock is held, and released. The
// computation is the next one of before; nil: of none.
func (f *flights) begin(
	caller context.Context, p passenger, before *flight,
) (found flightResult, err error) {
	if f.closed {
		f.mu.Unlock()
		return found, closedError()
	}
	first, cancel := context.WithCancelCause(undated{caller})
	begun := &flight{id: p.id, key: p.key, cancel: cancel, callers: 1}
	if f.flights == nil {
		f.flights, f.running = map[flightID]*flight{}, map[*flight]struct{}{}
	}
	f.flights[p.id] = begun
	f.running[begun] = struct{}{}
	if before != nil {
		before.next = begun
	}
	f.mu.Unlock()
	defer cancel(nil)
	found, left := f.first(first, caller, begun, p.compute)
	switch {
	case left != nil:
		f.proceed(caller, begun, left)
		found, _, err = f.wait(caller, begun, nil)
		return found, err
	case !gone(caller, found):
		return found, nil
	case f.leave(begun, context.Cause(caller)):
		f.finish(begun, found, true)
	default:
		// The answer went with the caller: those that joined need another.
		f.proceed(caller, begun, p.compute.run)
	}
	return found, ended(caller)
}

// gone: the end of the caller is why there is no result.
func gone(caller context.Context, found flightResult) bool {
	return found.err != nil && caller.Err() != nil
}

// undated has no deadline, but ends with a caller: the server needs not know until when that waits.
type undated struct{ context.Context }

func (undated) Deadline() (deadline time.Time, ok bool) { return deadline, false }

// first takes the first step, which most computations end with. It needs no goroutine.
func (f *flights) first(
	ctx, caller context.Context, begun *flight, c computation,
) (found flightResult, left rest) {
	found = flightResult{err: errGoexit}
	over := true
	defer func() {
		// A codec that panics or ends the goroutine must not leave those behind that wait.
		if panicked := recover(); panicked != nil {
			found = flightResult{panicked: newPanicError(panicked)}
		}
		if over {
			f.finish(begun, found, ctx.Err() != nil)
		}
	}()
	found, left = c.first(ctx)
	over = left == nil && !gone(caller, found)
	return found, left
}

// proceed does the rest in a goroutine of its own, which its caller can leave.
func (f *flights) proceed(caller context.Context, begun *flight, left rest) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(caller))
	f.mu.Lock()
	begun.cancel = cancel
	if begun.ended {
		cancel(begun.cause)
	}
	begun.await()
	f.mu.Unlock()
	go func() {
		defer cancel(nil)
		result := flightResult{err: errGoexit}
		defer func() {
			if panicked := recover(); panicked != nil {
				result = flightResult{panicked: newPanicError(panicked)}
			}
			f.finish(begun, result, ctx.Err() != nil)
		}()
		result = left(ctx)
	}()
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

// leave reports whether no caller is left.
func (f *flights) leave(left *flight, cause error) (last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left.callers--
	if left.callers > 0 {
		return false
	}
	f.end(left, cause)
	return true
}

// end cancels a computation. The next call does not join it. The lock is held.
func (f *flights) end(ending *flight, cause error) {
	ending.ended, ending.cause = true, cause
	if f.flights[ending.id] == ending {
		delete(f.flights, ending.id)
	}
	ending.cancel(cause)
}

func (f *flights) finish(done *flight, result flightResult, cancelled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done.result, done.over = result, true
	done.ended = done.ended || cancelled
	if f.flights[done.id] == done {
		delete(f.flights, done.id)
	}
	delete(f.running, done)
	if done.done != nil {
		close(done.done)
	}
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
		each.await()
		f.end(each, cause)
	}
	f.mu.Unlock()
	for _, each := range all {
		<-each.done
	}
}
