package larder

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"larder.test/clients/go/larderpb"
)

// Observer sees the calls of a client, for spans and metrics.
type Observer interface {
	// Call begins a call, such as `Get`, with all its attempts. The context that it returns is that
	// of the call, and its outgoing metadata are sent. The function receives the error of the call.
	Call(ctx context.Context, method, namespace string) (context.Context, func(error))
}

// callSpec is how a call is made.
type callSpec struct {
	method string
	// timeout is for the answer, all attempts together.
	timeout   time.Duration
	namespace string
	count     *counts
	// idempotent: the call can be repeated without another effect.
	idempotent bool
	// open: the caller goes on without the cache at an outage, so that the breaker may answer.
	open bool
	// parting: the call is made while the client closes.
	parting bool
	// begun is set once a part of the answer has come: then the call is not repeated. Nil: it may.
	begun *bool
}

const (
	maxAttempts    = 3
	firstBackoff   = 20 * time.Millisecond
	longestBackoff = 200 * time.Millisecond
)

const (
	stateOpen = iota
	stateClosing
	stateClosed
)

// caller makes calls: retries, breaker, counters, and the log of outages.
type caller struct {
	connections *connections
	logger      *slog.Logger
	observer    Observer
	breaker     breaker
	budget      retryBudget
	state       atomic.Int32

	mu sync.Mutex
	// outageSince is the begin of the outage; zero: there is none. away mirrors it.
	outageSince time.Time
	away        atomic.Bool
}

// exchange is what the attempts of a call send and receive.
type exchange interface {
	// send makes an attempt.
	send(ctx context.Context, used *link) error
	// trailers are those of the last attempt.
	trailers() metadata.MD
}

type method[Q, R any] func(
	larderpb.CacheServiceClient, context.Context, *Q, ...grpc.CallOption,
) (*R, error)

// trailing keeps the trailers of an attempt.
type trailing struct {
	trailer metadata.MD
	options [1]grpc.CallOption
}

func (t *trailing) trailers() metadata.MD { return t.trailer }

// kept are options for an attempt whose trailers are kept.
func (t *trailing) kept() []grpc.CallOption {
	t.trailer, t.options[0] = nil, grpc.Trailer(&t.trailer)
	return t.options[:]
}

// question is a call with one answer.
type question[Q, R any] struct {
	trailing
	call    method[Q, R]
	request *Q
	answer  *R
}

func (q *question[Q, R]) send(ctx context.Context, used *link) (err error) {
	q.answer, err = q.call(used.stub, ctx, q.request, q.kept()...)
	return err
}

// unary makes a call with one answer.
func unary[Q, R any](
	ctx context.Context, c *caller, spec callSpec, call method[Q, R], request *Q,
) (*R, error) {
	one := &question[Q, R]{call: call, request: request}
	err := c.run(ctx, &spec, one)
	return one.answer, err
}

type streamMethod[Q, R any] func(
	larderpb.CacheServiceClient, context.Context, *Q, ...grpc.CallOption,
) (grpc.ServerStreamingClient[R], error)

// collection is a call with a stream of answers.
type collection[Q, R any] struct {
	trailing
	call    streamMethod[Q, R]
	request *Q
	answers []*R
	begun   *bool
}

func (s *collection[Q, R]) send(ctx context.Context, used *link) error {
	s.answers = nil
	stream, err := s.call(used.stub, ctx, s.request, s.kept()...)
	if err != nil {
		return err
	}
	return receive(stream, func(answer *R) {
		s.answers = append(s.answers, answer)
		if s.begun != nil {
			*s.begun = true
		}
	})
}

// collect makes a call with a stream of answers, and returns all of them. Of a stream that breaks,
// what has come is returned with the error.
func collect[Q, R any](
	ctx context.Context, c *caller, spec callSpec, call streamMethod[Q, R], request *Q,
) ([]*R, error) {
	all := &collection[Q, R]{call: call, request: request, begun: spec.begun}
	err := c.run(ctx, &spec, all)
	return all.answers, err
}

// checkOpen fails after Close.
func (c *caller) checkOpen() error {
	if c.state.Load() != stateOpen {
		return closedError()
	}
	return nil
}

func (c *caller) run(ctx context.Context, spec *callSpec, call exchange) (err error) {
	if state := c.state.Load(); state == stateClosed || state == stateClosing && !spec.parting {
		return closedError()
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	trial, judged := false, false
	defer func() {
		// Also after a panic, such as one of an observer: no other call would try.
		if !judged {
			c.breaker.cancelled(trial)
		}
	}()
	if spec.open {
		var allowed bool
		if allowed, trial = c.breaker.allow(); !allowed {
			spec.count.errors.Add(1)
			return &Error{
				Code: codes.Unavailable, Reason: reasonBreaker,
				Message: "not sent: the calls before have failed",
			}
		}
	}
	outgoing := ctx
	if _, foreign := metadata.FromOutgoingContext(ctx); foreign || len(c.connections.base) > 0 {
		// Metadata of the caller's context belong to calls of its own.
		outgoing = metadata.NewOutgoingContext(ctx, c.connections.base)
	}
	if c.observer != nil {
		var end func(error)
		outgoing, end = c.observer.Call(outgoing, spec.method, spec.namespace)
		defer func() { end(err) }()
	}
	started := time.Now()
	timeout := spec.timeout
	for attempts := 1; ; attempts++ {
		err := c.connections.attempt(outgoing, timeout, call)
		if err == nil {
			judged = true
			c.succeeded()
			return nil
		}
		var failure *Error
		if ctx.Err() != nil || !errors.As(err, &failure) || failure.Reason == reasonClosed {
			// The caller has left, the client is closed, or the arguments cannot be sent.
			return err
		}
		if attempts == 1 && failure.Code == codes.Unauthenticated &&
			c.connections.authorization.renews() {
			continue
		}
		delay, again := c.retryDelay(failure, attempts, spec)
		again = again && (spec.begun == nil || !*spec.begun)
		if timeout = spec.timeout - time.Since(started) - delay; !again || timeout <= 0 {
			judged = true
			c.failed(failure, spec, trial)
			return failure
		}
		spec.count.retries.Add(1)
		if err := sleep(ctx, delay); err != nil {
			return err
		}
	}
}

func (c *caller) retryDelay(
	failure *Error, attempts int, spec *callSpec,
) (delay time.Duration, again bool) {
	if failure.Code != codes.Unavailable {
		return 0, false
	}
	budgeted := c.budget.failure()
	switch {
	case !spec.idempotent || attempts >= maxAttempts || !budgeted:
		return 0, false
	case failure.pushback != nil:
		return *failure.pushback, *failure.pushback != never
	case failure.RetryAfter > 0:
		return failure.RetryAfter, true
	}
	delay = min(longestBackoff, firstBackoff<<(attempts-1))
	return time.Duration(float64(delay) * (0.8 + 0.4*rand.Float64())), true
}

func (c *caller) succeeded() {
	c.breaker.success()
	c.budget.success()
	if !c.away.Load() {
		return
	}
	c.mu.Lock()
	since := c.outageSince
	c.outageSince = time.Time{}
	c.away.Store(false)
	c.mu.Unlock()
	if !since.IsZero() {
		c.logger.Info("larder: the cache answers again", "after", time.Since(since))
	}
}

func (c *caller) failed(failure *Error, spec *callSpec, trial bool) {
	spec.count.errors.Add(1)
	if !isOutage(failure) {
		// The server is there, and it is the call that is wrong.
		c.breaker.success()
		return
	}
	c.breaker.failure(trial)
	if c.away.Load() {
		return
	}
	c.mu.Lock()
	first := c.outageSince.IsZero()
	if first {
		c.outageSince = time.Now()
		c.away.Store(true)
	}
	c.mu.Unlock()
	if first {
		c.logger.Warn("larder: the cache is away", "code", failure.Code.String(),
			"reason", failure.Reason, "error", failure.Message, "namespace", spec.namespace)
	}
}

// sleep waits, or returns the end of the context.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}
