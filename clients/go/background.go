package larder

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// background is work without a caller that waits: bounded, and ended by Close.
type background struct {
	limit  int
	logger *slog.Logger

	mu      sync.Mutex
	cancels map[int]context.CancelCauseFunc
	last    int
	closed  bool
	// parting counts what Close waits for, and idle is closed when there is nothing more.
	parting int
	idle    chan struct{}
	// leaving counts the calls of part.
	leaving int
}

func newBackground(limit int, logger *slog.Logger) *background {
	return &background{
		limit: limit, logger: logger, cancels: map[int]context.CancelCauseFunc{},
		idle: make(chan struct{}),
	}
}

// logPanic is deferred: a panic of a codec in the background must not end the process.
func (b *background) logPanic() {
	if panicked := recover(); panicked != nil {
		b.logger.Error("larder: a computation in the background has panicked",
			"error", newPanicError(panicked))
	}
}

// begin lets Close wait for what begins. It is false if Close waits no more.
func (b *background) begin() bool {
	if b.closed && b.parting == 0 {
		return false
	}
	b.parting++
	return true
}

func (b *background) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parting--
	if b.closed && b.parting == 0 {
		close(b.idle)
	}
}

// track lets Close wait until the function that is returned is called.
func (b *background) track() func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.begin() {
		return nothing
	}
	return b.done
}

// start runs work, unless as much as is permitted runs. The context has the values of parent.
func (b *background) start(parent context.Context, work func(context.Context)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.cancels) >= b.limit {
		return false
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	b.last++
	id := b.last
	b.cancels[id] = cancel
	b.begin()
	go func() {
		defer b.done()
		defer func() {
			b.mu.Lock()
			delete(b.cancels, id)
			b.mu.Unlock()
			cancel(nil)
		}()
		defer b.logPanic()
		work(ctx)
	}()
	return true
}

// maxParting is the number of calls at once for which nothing waits.
const maxParting = 2000

// part makes a call for which nothing waits but Close. It is left out after that, and if there are
// too many: the leases then end by themselves.
func (b *background) part(parent context.Context, call func(context.Context)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leaving >= maxParting || !b.begin() {
		return false
	}
	b.leaving++
	go func() {
		defer b.done()
		defer func() {
			b.mu.Lock()
			b.leaving--
			b.mu.Unlock()
		}()
		defer b.logPanic()
		call(context.WithoutCancel(parent))
	}()
	return true
}

// close ends the work, and waits for what it and others still send.
func (b *background) close(cause error) {
	b.mu.Lock()
	b.closed = true
	for _, cancel := range b.cancels {
		cancel(cause)
	}
	if b.parting == 0 {
		close(b.idle)
	}
	b.mu.Unlock()
	<-b.idle
}

// running is what runs until it is done, its caller leaves, or the client closes.
type running struct {
	mu     sync.Mutex
	open   map[*struct{ _ int }]context.CancelCauseFunc
	closed error
}

// begin returns a context that ends with the client, too. It must be ended.
func (r *running) begin(parent context.Context) (context.Context, func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return nil, nil, r.closed
	}
	ctx, cancel := context.WithCancelCause(parent)
	id := &struct{ _ int }{}
	if r.open == nil {
		r.open = map[*struct{ _ int }]context.CancelCauseFunc{}
	}
	r.open[id] = cancel
	return ctx, func() {
		r.mu.Lock()
		delete(r.open, id)
		r.mu.Unlock()
		cancel(nil)
	}, nil
}

func (r *running) close(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = cause
	for _, cancel := range r.open {
		cancel(cause)
	}
}

// within waits for work that may take as long as d. After that it goes on alone.
func within(d time.Duration, work func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
