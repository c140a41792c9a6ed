package lardertest

import (
	"context"
	"math"
	"regexp"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"larder.test/clients/go/larderpb"
)

func wire(d time.Duration) *durationpb.Duration {
	return durationpb.New(max(0, d).Truncate(time.Millisecond))
}

func (f *Fake) info(one *entry) *larderpb.EntryInfo {
	now := f.now()
	return &larderpb.EntryInfo{
		Version: one.version, Age: wire(now.Sub(one.writtenAt)),
		TtlRemaining: wire(one.freshUntil.Sub(now)), Tags: one.tags,
		Tier: larderpb.Tier_TIER_STORE,
	}
}

func outcomeOf(one *entry, fresh bool) larderpb.Outcome {
	switch {
	case one.value == nil:
		return larderpb.Outcome_OUTCOME_NEGATIVE
	case fresh:
		return larderpb.Outcome_OUTCOME_HIT
	}
	return larderpb.Outcome_OUTCOME_STALE
}

func (f *Fake) foundOf(one *entry, fresh bool) *larderpb.Found {
	return &larderpb.Found{
		Value: one.value, Entry: f.info(one), Outcome: outcomeOf(one, fresh),
	}
}

// Get is the call of the service.
func (s *service) Get(
	ctx context.Context, request *larderpb.GetRequest,
) (*larderpb.GetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(ctx, request)
}

func (f *Fake) read(
	ctx context.Context, request *larderpb.GetRequest,
) (*larderpb.GetResponse, error) {
	if err := checkKey(request, ""); err != nil {
		return nil, err
	}
	touch, err := positive(request.Touch, "touch")
	if err != nil {
		return nil, err
	}
	answer := &larderpb.GetResponse{
		Outcome: larderpb.Outcome_OUTCOME_MISS, Degraded: f.degraded,
	}
	if f.degraded {
		return answer, nil
	}
	counted := f.count(request.Namespace)
	one, fresh := f.find(placeOf(request, schemaOf(ctx)))
	if one == nil || !fresh && !f.staleFor(one, one.staleUntil, request.MaxStale) {
		counted.Misses++
		return answer, nil
	}
	if fresh && touch > 0 {
		settings := f.settings(one.namespace)
		until := f.now().Add(touch)
		if latest := one.writtenAt.Add(settings.MaxTTL); until.After(latest) {
			until = latest
		}
		if until.After(one.freshUntil) {
			one.extend(until, settings)
		}
	}
	answer.Entry, answer.Outcome = f.info(one), outcomeOf(one, fresh)
	answer.NotModified = request.IfVersionNot != "" && request.IfVersionNot == one.version
	switch answer.Outcome {
	case larderpb.Outcome_OUTCOME_HIT:
		counted.Hits++
	case larderpb.Outcome_OUTCOME_STALE:
		counted.Stale++
	default:
		counted.Negative++
	}
	if !request.OmitValue && !answer.NotModified {
		answer.Value = one.value
	}
	return answer, nil
}

// staleFor reports whether a value past its TTL is within the windows.
func (f *Fake) staleFor(one *entry, until time.Time, maxStale *durationpb.Duration) bool {
	now := f.now()
	return now.Before(until) &&
		(maxStale == nil || now.Sub(one.freshUntil) < maxStale.AsDuration())
}

func (f *Fake) checkSet(request *larderpb.SetRequest, field string) error {
	if err := checkKey(request, field); err != nil {
		return err
	}
	if err := checkTags(request.Tags, field+"tags"); err != nil {
		return err
	}
	if _, err := positive(request.Ttl, field+"ttl"); err != nil {
		return err
	}
	return f.checkValue(request.Value, request.Namespace)
}

// Set is the call of the service.
func (s *service) Set(
	ctx context.Context, request *larderpb.SetRequest,
) (*larderpb.SetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkSet(request, ""); err != nil {
		return nil, err
	}
	return s.write(ctx, request), nil
}

func (f *Fake) write(ctx context.Context, request *larderpb.SetRequest) *larderpb.SetResponse {
	if f.degraded {
		return &larderpb.SetResponse{
			Result: larderpb.SetResult_SET_RESULT_NOT_STORED, Degraded: true,
		}
	}
	at := placeOf(request, schemaOf(ctx))
	kept, fresh := f.find(at)
	unmet := false
	switch condition := request.Condition.(type) {
	case *larderpb.SetRequest_IfAbsent:
		unmet = fresh
	case *larderpb.SetRequest_IfPresent:
		unmet = !fresh
	case *larderpb.SetRequest_IfVersion:
		unmet = kept == nil || kept.version != condition.IfVersion
	}
	if unmet {
		return &larderpb.SetResponse{Result: larderpb.SetResult_SET_RESULT_CONDITION_NOT_MET}
	}
	if len(request.LeaseToken) > 0 {
		if why := f.refusal(at, request.LeaseToken, request.Tags); why != held {
			return &larderpb.SetResponse{Result: why.set()}
		}
	}
	stored := f.put(at, request.Value, request.Ttl.AsDuration(), request.Tags)
	f.count(request.Namespace).Sets++
	f.changed(at, superseded)
	return &larderpb.SetResponse{
		Result: larderpb.SetResult_SET_RESULT_STORED, Version: stored.version,
		Ttl: wire(stored.freshUntil.Sub(stored.writtenAt)),
	}
}

// Delete is the call of the service.
func (s *service) Delete(
	ctx context.Context, request *larderpb.DeleteRequest,
) (*larderpb.DeleteResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove(ctx, request)
}

func (f *Fake) remove(
	ctx context.Context, request *larderpb.DeleteRequest,
) (*larderpb.DeleteResponse, error) {
	if err := checkKey(request, ""); err != nil {
		return nil, err
	}
	if request.IfVersion != nil && *request.IfVersion == "" {
		return nil, invalid("if_version", "must not be empty")
	}
	if f.degraded {
		return nil, storeUnavailable()
	}
	at := placeOf(request, schemaOf(ctx))
	one, fresh := f.find(at)
	wanted := request.IfVersion == nil || one != nil && one.version == *request.IfVersion
	answer := &larderpb.DeleteResponse{
		Existed: one != nil, Deleted: one != nil && wanted,
		Durability: larderpb.Durability_DURABILITY_APPLIED,
	}
	if !wanted {
		return answer, nil
	}
	if request.ReturnValue && one != nil {
		answer.Removed = f.foundOf(one, fresh)
	}
	delete(f.entries, at)
	f.addHoldOff(request.HoldOff.AsDuration(), func(other place, _ []string) bool {
		return other == at
	})
	f.count(request.Namespace).Deletes++
	f.changed(at, invalidated)
	return answer, nil
}

// Touch is the call of the service.
func (s *service) Touch(
	ctx context.Context, request *larderpb.TouchRequest,
) (*larderpb.TouchResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkKey(request, ""); err != nil {
		return nil, err
	}
	ttl, err := positive(request.Ttl, "ttl")
	if err != nil {
		return nil, err
	}
	if s.degraded {
		return &larderpb.TouchResponse{Degraded: true}, nil
	}
	one := s.fresh(placeOf(request, schemaOf(ctx)))
	if one == nil {
		return &larderpb.TouchResponse{}, nil
	}
	settings := s.settings(request.Namespace)
	if ttl == 0 {
		ttl = settings.TTL
	}
	ttl = min(ttl, settings.MaxTTL)
	one.extend(s.now().Add(ttl), settings)
	return &larderpb.TouchResponse{Found: true, Ttl: wire(ttl)}, nil
}

var integer = regexp.MustCompile(`^-?\d{1,19}$`)

// Increment is the call of the service.
func (s *service) Increment(
	ctx context.Context, request *larderpb.IncrementRequest,
) (*larderpb.IncrementResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkKey(request, ""); err != nil {
		return nil, err
	}
	ttl, err := positive(request.Ttl, "ttl")
	if err != nil {
		return nil, err
	}
	if s.degraded {
		return nil, storeUnavailable()
	}
	at := placeOf(request, schemaOf(ctx))
	one := s.fresh(at)
	if one == nil && request.IfPresent {
		return &larderpb.IncrementResponse{Missing: true}, nil
	}
	before, tags := request.Initial, []string(nil)
	if one != nil {
		text, ok := one.value.GetKind().(*larderpb.Value_Text)
		if ok && integer.MatchString(text.Text) {
			before, err = strconv.ParseInt(text.Text, 10, 64)
		}
		if !ok || err != nil || !integer.MatchString(text.Text) {
			return nil, failure(codes.FailedPrecondition, "NOT_AN_INTEGER",
				"the entry is not a decimal integer of 64 bits", nil, 0)
		}
		tags, ttl = one.tags, one.freshUntil.Sub(s.now())
	}
	delta := int64(1)
	if request.Delta != nil {
		delta = *request.Delta
	}
	if delta > 0 && before > math.MaxInt64-delta || delta < 0 && before < math.MinInt64-delta {
		return nil, failure(codes.FailedPrecondition, "OVERFLOW",
			"the sum does not fit in 64 bits", nil, 0)
	}
	sum := strconv.FormatInt(before+delta, 10)
	value := &larderpb.Value{Kind: &larderpb.Value_Text{Text: sum}}
	stored := s.put(at, value, ttl, tags)
	s.changed(at, superseded)
	return &larderpb.IncrementResponse{
		Value: before + delta, Version: stored.version,
		TtlRemaining: wire(stored.freshUntil.Sub(stored.writtenAt)),
	}, nil
}

// Renew is the call of the service.
func (s *service) Renew(
	ctx context.Context, request *larderpb.RenewRequest,
) (*larderpb.RenewResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.degraded {
		return &larderpb.RenewResponse{Degraded: true}, nil
	}
	at := placeOf(request, schemaOf(ctx))
	why := s.refusal(at, request.LeaseToken, nil)
	if why != held {
		return &larderpb.RenewResponse{Result: why.renew()}, nil
	}
	expiresIn := s.settings(at.namespace).LeaseTTL
	s.leases.held[at].expiresAt = s.now().Add(expiresIn)
	return &larderpb.RenewResponse{Result: why.renew(), ExpiresIn: wire(expiresIn)}, nil
}

// Abandon is the call of the service.
func (s *service) Abandon(
	ctx context.Context, request *larderpb.AbandonRequest,
) (*larderpb.AbandonResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abandon(placeOf(request, schemaOf(ctx)), request)
	return &larderpb.AbandonResponse{}, nil
}
