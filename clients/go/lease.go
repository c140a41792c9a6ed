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

// release ends the renewals.
func (l *heldLease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	l.timer.Stop()
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
		Tags: joinTags(joinTags(l.scope.tags, o.tags), value.options.tags), LeaseToken: l.token,
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
	l.release()
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

// delete removes the entry, which also ends the lease.
func (l *heldLease) delete() {
	request := &larderpb.DeleteRequest{
		Namespace: l.scope.namespace, Key: l.at.key, Params: l.at.params,
	}
	changed := l.scope.changing(l.at.key)
	l.scope.core.background.part(l.parent, func(ctx context.Context) {
		defer changed()
		_, _ = unary(ctx, l.scope.core.caller, l.parting("Delete"),
			larderpb.CacheServiceClient.Delete, request)
	})
}

// parting calls are made although the client closes.
func (l *heldLease) parting(method string) callSpec {
	spec := l.scope.spec(method, nil, true, false)
	spec.parting = true
	return spec
}

// filled is the result of a fill that the server has answered.
func (s *scope) filled(answer *larderpb.SetResponse) Write {
	write := writeOf(answer)
	if !write.Stored {
		s.count.fillsRefused.Add(1)
	}
	return write
}

// unfilled is the result of a fill that has failed, and the error if that is a mistake. A value
// over the limit is none here: the loader's value is still the caller's.
func (s *scope) unfilled(err error) (Write, error) {
	tooLarge := errors.Is(err, ErrValueTooLarge)
	if !tooLarge && (s.raise || !isOutage(err)) {
		return Write{}, err
	}
	s.count.fillsRefused.Add(1)
	if tooLarge {
		return Write{Reason: NotStored, Err: err}, nil
	}
	s.count.failOpen.Add(1)
	return Write{Reason: Unavailable, Degraded: true, Err: err}, nil
}
