package larder

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	breakerFailures = 5
	breakerOpen     = 500 * time.Millisecond
	breakerJitter   = 250 * time.Millisecond
)

// breaker spares calls the deadline while the cache is away: after 5 outages in a row, calls that
// fail open are not sent for 500 to 750 ms. Then one tries after each such time, until one succeeds:
// also if the one before has not ended, because it can wait for a computation of another process.
type breaker struct {
	mu        sync.Mutex
	failures  int
	openUntil time.Time
}

// allow reports whether a call may be sent, and whether it is the one that tries. It must report
// its end.
func (b *breaker) allow() (allowed, trial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakerFailures {
		return true, false
	}
	if time.Now().Before(b.openUntil) {
		return false, false
	}
	b.open()
	return true, true
}

// success is an answer of the server.
func (b *breaker) success() {
	b.mu.Lock()
	b.failures = 0
	b.mu.Unlock()
}

// failure is the end of a call with an outage. Those of calls that are always sent do not put the
// next trial off.
func (b *breaker) failure(trial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	if b.failures == breakerFailures || trial {
		b.open()
	}
}

func (b *breaker) open() {
	b.openUntil = time.Now().Add(breakerOpen + rand.N(breakerJitter))
}

// cancelled is the end of a call that proves nothing about the server: its caller has left.
func (b *breaker) cancelled(trial bool) {
	if !trial {
		return
	}
	b.mu.Lock()
	b.openUntil = time.Time{}
	b.mu.Unlock()
}

const (
	retryTokens     = 10
	tokensOfSuccess = 0.1
)

// retryBudget bounds retries, so that they do not multiply the load of a server in trouble.
type retryBudget struct {
	mu    sync.Mutex
	spent float64
}

func (b *retryBudget) success() {
	b.mu.Lock()
	b.spent = max(0, b.spent-tokensOfSuccess)
	b.mu.Unlock()
}

// failure counts a failure, and reports whether it may be followed by a retry.
func (b *retryBudget) failure() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = min(retryTokens, b.spent+1)
	return retryTokens-b.spent > retryTokens/2
}
