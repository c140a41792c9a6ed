package larder

import (
	"context"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"larder.test/clients/go/larderpb"
)

const (
	maxReasonBytes = 256
	// shortestRenewal is the time between two renewals, whatever the server answers.
	shortestRenewal = 10 * time.Millisecond
)

// heldLease is a lease that this process holds. It is renewed until release.
type heldLease struct {
	scope *scope
	at    address
	token []byte
	// parent has the values of the call that received the lease, such as a trace.
	parent context.Context

	mu       sync.Mutex
	timer    *time.Timer
	lost     NotStoredReason
	released bool
	// settled: it is filled or given up.
	settled bool
}

func hold(ctx context.Context, s *scope, at address, lease *larderpb.Lease) *heldLease {
	held := &heldLease{scope: s, at: at, token: lease.Token, parent: context.WithoutCancel(ctx)}
	held.schedule(asDuration(lease.ExpiresIn))
	return held
}

func (l *heldLease) schedule(expiresIn time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released {
		l.timer = time.AfterFunc(max(shortestRenewal, expiresIn/3), func() { l.renew(expiresIn) })
	}
}

func (l *heldLease) renew(expiresIn time.Duration) {
	request := &larderpb.RenewRequest{
		Namespace: l.scope.namespace, Key: l.at.key, Params: l.at.params, LeaseToken: l.token,
	}
	spec := l.scope.spec("Renew", nil, true, false)
	answer, err := unary(
		l.parent, l.scope.core.caller, spec, larderpb.CacheServiceClient.Renew, request,
	)
	if errors.Is(err, ErrClosed) {
		return
	}
	// After another error the lease may still be held: the next renewal, or the fill, finds out.
	if err == nil {
		var lost NotStoredReason
		switch answer.Result {
		case larderpb.RenewResult_RENEW_RESULT_LEASE_LOST:
			lost = LeaseLost
		case larderpb.RenewResult_RENEW_RESULT_INVALIDATED:
			lost = Invalidated
		case larderpb.RenewResult_RENEW_RESULT_SUPERSEDED:
			lost = Superseded
		}
		if lost != "" {
			l.mu.Lock()
			l.lost = lost
			l.mu.Unlock()
			return
		}
		if answer.ExpiresIn != nil {
			expiresIn = answer.ExpiresIn.AsDuration()
		}
	}
	l.schedule(expiresIn)
}

// settle ends the renewals. It is false if the lease is filled or given up already.
func (l *heldLease) settle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	l.timer.Stop()
	first := !l.settled
	l.settled = true
	return first
}

// end passes the lease on if nothing else has become of it: its computation has ended in a panic,
// or before it began.
func (l *heldLease) end() {
	if l != nil {
		l.giveUp("", true)
	}
}

// afterFill is what becomes of a lease whose value is not stored.
type afterFill uint8

const (
	thenNothing afterFill = iota
	thenAbandon
	thenDelete
)

// fillOf is the request that stores a value, or the reason why there is none.
func fillOf[T any](
	l *heldLease, codec Codec[T], value Loaded[T], o *callOptions,
) (request *larderpb.SetRequest, done Write, then afterFill) {
	if value.options.noStore {
		return nil, Write{Reason: NotStored}, thenAbandon
	}
	ttl := value.options.ttl
	if ttl == nil {
		ttl = l.scope.ttlOf(o)
	}
	if ttl != nil && *ttl <= 0 {
		return nil, Write{Reason: Expired}, thenDelete
	}
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	if lost != "" {
		return nil, Write{Reason: lost}, thenNothing
	}
	encoded, err := codec.Encode(value.Value)
	var message *larderpb.Value
	if err == nil {
		message, err = encoded.message()
	}
	if err != nil {
		return nil, Write{Reason: NotEncodable, Err: err}, thenAbandon
	}
	return &larderpb.SetRequest{
		Namespace: l.scope.namespace, Key: l.at.key, Params: l.at.params, Value: message,
		Ttl:  wireTTL(ttl),
		Tags: l.scope.tagsOf(o, value.options.tags), LeaseToken: l.token,
	}, Write{}, thenNothing
}

// after does what is left for a lease whose value is not stored.
func (l *heldLease) after(then afterFill) {
	l.scope.count.fillsRefused.Add(1)
	switch then {
	case thenAbandon:
		l.passOn()
	case thenDelete:
		l.delete()
	case thenNothing:
		l.settle()
	}
}

// abandon gives the lease up because its computation failed.
func (l *heldLease) abandon(reason string) {
	for len(reason) > maxReasonBytes || !utf8.ValidString(reason) {
		reason = reason[:min(len(reason)-1, maxReasonBytes)]
	}
	l.giveUp(reason, false)
}

// passOn gives the lease up so that the next caller receives it at once.
func (l *heldLease) passOn() { l.giveUp("", true) }

func (l *heldLease) giveUp(reason string, passOn bool) {
	if !l.settle() {
		return
	}
	request := &larderpb.AbandonRequest{
		Namespace: l.scope.namespace, Key: l.at.key, Params: l.at.params, LeaseToken: l.token,
		Reason: reason, PassOn: passOn,
	}
	// Without this call the lease ends by itself. Its error is counted.
	l.scope.core.background.part(l.parent, func(ctx context.Context) {
		_, _ = unary(ctx, l.scope.core.caller, l.parting("Abandon"),
			larderpb.CacheServiceClient.Abandon, request)
	})
}

// delete removes the entry, which also ends the lease. It is passed on if that fails.
func (l *heldLease) delete() {
	request := &larderpb.DeleteRequest{
		Namespace: l.scope.namespace, Key: l.at.key, Params: l.at.params,
	}
	defer l.scope.changing(l.at.key)()
	// Without this call the entry ends by itself. Its error is counted.
	_, err := unary(l.parent, l.scope.core.caller, l.parting("Delete"),
		larderpb.CacheServiceClient.Delete, request)
	if err != nil {
		l.passOn()
		return
	}
	l.settle()
}

// parting calls are made although the client closes.
func (l *heldLease) parting(method string) callSpec {
	spec := l.scope.spec(method, nil, true, false)
	spec.parting = true
	return spec
}

// filled is the result of a fill that the server has answered.
func (l *heldLease) filled(answer *larderpb.SetResponse) Write {
	write := writeOf(answer)
	if write.Stored {
		l.settle()
		return write
	}
	l.scope.count.fillsRefused.Add(1)
	switch write.Reason {
	case LeaseLost, Invalidated, Superseded:
		l.settle()
	default:
		// The store did not take the value, and the lease is still there.
		l.passOn()
	}
	return write
}

// unfilled is the result of a fill that has failed. The loader's value is still the caller's.
func (l *heldLease) unfilled(err error) Write {
	l.passOn()
	l.scope.count.fillsRefused.Add(1)
	if isOutage(err) {
		l.scope.count.failOpen.Add(1)
		return Write{Reason: Unavailable, Degraded: true, Err: err}
	}
	return Write{Reason: NotStored, Err: err}
}

// logUnfilled logs a fill that the server refuses as wrong. That is in the result, too, which few
// programs look at.
func (s *scope) logUnfilled(err error) {
	if !isOutage(err) {
		s.core.logger.Warn("larder: a computed value is not stored",
			"namespace", s.namespace, "error", err)
	}
}
