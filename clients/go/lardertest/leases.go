package lardertest

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"larder.test/clients/go/larderpb"
)

// lost is why a lease is no longer held.
type lost uint8

const (
	held lost = iota
	leaseLost
	invalidated
	superseded
)

func (l lost) set() larderpb.SetResult {
	return [...]larderpb.SetResult{
		larderpb.SetResult_SET_RESULT_STORED, larderpb.SetResult_SET_RESULT_LEASE_LOST,
		larderpb.SetResult_SET_RESULT_INVALIDATED, larderpb.SetResult_SET_RESULT_SUPERSEDED,
	}[l]
}

func (l lost) renew() larderpb.RenewResult {
	return [...]larderpb.RenewResult{
		larderpb.RenewResult_RENEW_RESULT_RENEWED, larderpb.RenewResult_RENEW_RESULT_LEASE_LOST,
		larderpb.RenewResult_RENEW_RESULT_INVALIDATED,
		larderpb.RenewResult_RENEW_RESULT_SUPERSEDED,
	}[l]
}

type lease struct {
	token     string
	at        place
	expiresAt time.Time
	// banned are tags that were invalidated since it was granted: values with them are refused.
	banned map[string]bool
}

type backoff struct {
	until time.Time
	cause string
}

// holdOff refuses fills for a while.
type holdOff struct {
	until    time.Time
	concerns func(at place, tags []string) bool
}

// remembered is the number of ended leases whose reason is kept.
const remembered = 10_000

// leases of the fake. The lock of the fake guards them.
type leases struct {
	held     map[place]*lease
	ended    map[string]lost
	order    []string
	backoffs map[place]backoff
	holdOffs []holdOff
	// changed is closed when callers that wait must look again.
	changed chan struct{}
}

func newLeases() leases {
	return leases{
		held: map[place]*lease{}, ended: map[string]lost{}, backoffs: map[place]backoff{},
		changed: make(chan struct{}),
	}
}

// busy reports whether the value is being computed.
func (f *Fake) busy(at place) bool {
	found := f.leases.held[at]
	if found == nil {
		return false
	}
	if f.now().Before(found.expiresAt) {
		return true
	}
	f.endLease(found, leaseLost)
	return false
}

func (f *Fake) grant(at place) (token []byte, expiresIn time.Duration) {
	expiresIn = f.settings(at.namespace).LeaseTTL
	token = make([]byte, 16)
	_, _ = rand.Read(token)
	f.leases.held[at] = &lease{
		token: string(token), at: at, expiresAt: f.now().Add(expiresIn), banned: map[string]bool{},
	}
	return token, expiresIn
}

// refusal is why a fill of the lease is refused.
func (f *Fake) refusal(at place, token []byte, tags []string) lost {
	if found := f.leases.held[at]; !f.busy(at) || found.token != string(token) {
		if why, known := f.leases.ended[string(token)]; known {
			return why
		}
		return leaseLost
	} else if slices.ContainsFunc(tags, func(tag string) bool { return found.banned[tag] }) {
		return invalidated
	}
	now := f.now()
	f.leases.holdOffs = slices.DeleteFunc(f.leases.holdOffs, func(each holdOff) bool {
		return !now.Before(each.until)
	})
	for _, each := range f.leases.holdOffs {
		if each.concerns(at, tags) {
			return invalidated
		}
	}
	return held
}

// failedBackoff is the rest of the time after a failed computation.
func (f *Fake) failedBackoff(at place) (remaining time.Duration, cause string) {
	found, ok := f.leases.backoffs[at]
	if !ok {
		return 0, ""
	}
	if remaining = found.until.Sub(f.now()); remaining > 0 {
		return remaining, found.cause
	}
	delete(f.leases.backoffs, at)
	return 0, ""
}

func (f *Fake) abandon(at place, request *larderpb.AbandonRequest) {
	found := f.leases.held[at]
	if found == nil || found.token != string(request.LeaseToken) {
		return
	}
	if !request.PassOn {
		cause := request.Reason[:min(96, len(request.Reason))]
		wait := f.settings(at.namespace).AbandonBackoff
		f.leases.backoffs[at] = backoff{until: f.now().Add(wait), cause: cause}
	}
	f.endLease(found, leaseLost)
}

// void ends the lease of an entry that was written, deleted or invalidated.
func (f *Fake) void(at place, why lost) {
	if found := f.leases.held[at]; found != nil {
		f.endLease(found, why)
	}
	delete(f.leases.backoffs, at)
}

func (f *Fake) voidWhere(namespace string, concerns func(key string) bool) {
	for at, found := range f.leases.held {
		if at.namespace == namespace && concerns(at.key) {
			f.endLease(found, invalidated)
		}
	}
}

func (f *Fake) addHoldOff(d time.Duration, concerns func(place, []string) bool) {
	if d > 0 {
		f.leases.holdOffs = append(f.leases.holdOffs, holdOff{f.now().Add(d), concerns})
	}
}

func (f *Fake) endLease(ending *lease, why lost) {
	delete(f.leases.held, ending.at)
	f.leases.ended[ending.token] = why
	f.leases.order = append(f.leases.order, ending.token)
	if len(f.leases.order) > remembered {
		delete(f.leases.ended, f.leases.order[0])
		f.leases.order = f.leases.order[1:]
	}
	f.wake()
}

// wake lets callers that wait look again.
func (f *Fake) wake() {
	close(f.leases.changed)
	f.leases.changed = make(chan struct{})
}

// wait releases the lock until something changes, the lease expires, or the time is over.
func (f *Fake) wait(ctx context.Context, at place, limit time.Duration) error {
	if found := f.leases.held[at]; found != nil {
		limit = min(limit, found.expiresAt.Sub(f.now()))
	}
	changed := f.leases.changed
	f.mu.Unlock()
	defer f.mu.Lock()
	timer := time.NewTimer(max(0, limit) + time.Millisecond)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
