package larder

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"larder.test/clients/go/larderpb"
)

// batchBytes is the size at which a batch is split. The server takes messages of 4 MiB.
const (
	batchBytes = 3 << 20
	itemBytes  = 256
)

// writeOf is the result of a write that the server has answered.
func writeOf(answer *larderpb.SetResponse) Write {
	if answer == nil {
		// An answer that ends early has no results for the rest.
		return Write{Reason: NotStored}
	}
	switch {
	case answer.Result == larderpb.SetResult_SET_RESULT_STORED:
		return Write{Stored: true, Version: answer.Version, TTL: asDuration(answer.Ttl)}
	case answer.Degraded:
		return Write{Reason: Degraded, Degraded: true}
	}
	write := Write{Reason: NotStored}
	switch answer.Result {
	case larderpb.SetResult_SET_RESULT_CONDITION_NOT_MET:
		write.Reason = ConditionNotMet
	case larderpb.SetResult_SET_RESULT_LEASE_LOST:
		write.Reason = LeaseLost
	case larderpb.SetResult_SET_RESULT_INVALIDATED:
		write.Reason = Invalidated
	case larderpb.SetResult_SET_RESULT_SUPERSEDED:
		write.Reason = Superseded
	}
	if answer.Cause != "" {
		write.Err = errors.New(answer.Cause)
	}
	return write
}

// setCondition puts the condition of a write into its request.
func (o *callOptions) setCondition(request *larderpb.SetRequest) error {
	count := 0
	for _, given := range []bool{o.ifAbsent, o.ifPresent, o.ifVersion != nil} {
		if given {
			count++
		}
	}
	switch {
	case count > 1:
		return wrong("IfAbsent, IfPresent, IfVersion", "at most one can be set")
	case o.ifAbsent:
		request.Condition = &larderpb.SetRequest_IfAbsent{IfAbsent: true}
	case o.ifPresent:
		request.Condition = &larderpb.SetRequest_IfPresent{IfPresent: true}
	case o.ifVersion != nil:
		request.Condition = &larderpb.SetRequest_IfVersion{IfVersion: *o.ifVersion}
	}
	return nil
}

func wireTTL(ttl *time.Duration) *durationpb.Duration {
	if ttl == nil {
		return nil
	}
	return toWire(*ttl)
}

// Set stores one value. The error is an [*EncodeError] if the codec cannot send the value, and
// [ErrValueTooLarge] if it is over the server's limit.
func (c *Cache[T]) Set(
	ctx context.Context, key string, value T, options ...SetOption,
) (Write, error) {
	var o callOptions
	for _, option := range options {
		option.forSet(&o)
	}
	at, err := o.address(key)
	if err != nil {
		return Write{}, err
	}
	request := &larderpb.SetRequest{
		Namespace: c.namespace, Key: at.key, Params: at.params, Tags: joinTags(c.tags, o.tags),
	}
	if err := o.setCondition(request); err != nil {
		return Write{}, err
	}
	ttl := c.ttlOf(&o)
	if ttl != nil && *ttl <= 0 {
		return c.expire(ctx, at, &o)
	}
	request.Ttl = wireTTL(ttl)
	encoded, err := c.codec.Encode(value)
	if err != nil {
		return Write{}, err
	}
	if request.Value, err = encoded.message(); err != nil {
		return Write{}, err
	}
	defer c.changing(at.key)()
	spec := c.spec("Set", &o, request.Condition == nil, true)
	answer, err := unary(ctx, c.core.caller, spec, larderpb.CacheServiceClient.Set, request)
	if err != nil {
		return c.unwritten(err)
	}
	return writeOf(answer), nil
}

// unwritten is a write at an outage, and the error otherwise.
func (s *scope) unwritten(err error) (Write, error) {
	if !s.failsOpen(err) {
		return Write{}, err
	}
	return Write{Reason: Unavailable, Degraded: true, Err: err}, nil
}

// expire deletes: a value without a lifetime is not stored, and ends the one that is there.
func (s *scope) expire(ctx context.Context, at address, o *callOptions) (Write, error) {
	if o.ifAbsent {
		// There is nothing to delete if the value was to be stored only in place of none.
		return Write{Reason: Expired}, nil
	}
	request := &larderpb.DeleteRequest{
		Namespace: s.namespace, Key: at.key, Params: at.params, IfVersion: o.ifVersion,
	}
	defer s.removing(effect{keys: map[string]bool{at.key: true}})()
	spec := s.spec("Delete", o, o.ifVersion == nil, true)
	_, err := unary(ctx, s.core.caller, spec, larderpb.CacheServiceClient.Delete, request)
	if err != nil {
		return s.unwritten(err)
	}
	return Write{Reason: Expired}, nil
}

// expireMany is expire for several values.
func (s *scope) expireMany(
	ctx context.Context, all []wanted, o *callOptions, results map[string]Write,
) error {
	defer s.removing(effect{keys: keysOf(all)})()
	for len(all) > 0 {
		part := all[:min(batchKeys, len(all))]
		all = all[len(part):]
		write := Write{Reason: Expired}
		_, err := unary(ctx, s.core.caller, s.spec("BatchDelete", o, true, true),
			larderpb.CacheServiceClient.BatchDelete,
			&larderpb.BatchDeleteRequest{Keys: s.keyRefs(part)})
		if err != nil {
			if write, err = s.unwritten(err); err != nil {
				return err
			}
		}
		for _, each := range part {
			results[each.key] = write
		}
	}
	return nil
}

// SetMany stores several values, each with a result of its own. It is not atomic.
func (c *Cache[T]) SetMany(
	ctx context.Context, values map[string]T, options ...SetManyOption,
) (map[string]Write, error) {
	var o callOptions
	for _, option := range options {
		option.forSetMany(&o)
	}
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	all, err := o.wantedKeys(keys)
	if err != nil {
		return nil, err
	}
	ttl := c.ttlOf(&o)
	results := make(map[string]Write, len(values))
	if ttl != nil && *ttl <= 0 {
		return results, c.expireMany(ctx, all, &o, results)
	}
	// All values are encoded first, so that one that cannot be leaves nothing stored.
	items := make([]batchItem, len(all))
	tags := joinTags(c.tags, o.tags)
	for i, each := range all {
		encoded, err := c.codec.Encode(values[each.key])
		if err != nil {
			return nil, err
		}
		value, err := encoded.message()
		if err != nil {
			return nil, err
		}
		items[i] = batchItem{each.key, encoded.size() + itemBytes, &larderpb.SetRequest{
			Namespace: c.namespace, Key: each.at.key, Params: each.at.params, Value: value,
			Ttl: wireTTL(ttl), Tags: tags,
		}}
	}
	defer c.changingMany(all)()
	for len(items) > 0 {
		var part []batchItem
		part, items = nextBatch(items)
		if err := c.setPart(ctx, part, &o, results); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// batchItem is a write of a batch.
type batchItem struct {
	key     string
	bytes   int
	request *larderpb.SetRequest
}

// nextBatch takes as many items as fit into a call.
func nextBatch(items []batchItem) (part, rest []batchItem) {
	bytes, end := 0, 0
	for end < len(items) && end < batchKeys && (end == 0 || bytes+items[end].bytes <= batchBytes) {
		bytes += items[end].bytes
		end++
	}
	return items[:end], items[end:]
}

func batchOf(part []batchItem) *larderpb.BatchSetRequest {
	request := &larderpb.BatchSetRequest{Items: make([]*larderpb.SetRequest, len(part))}
	for i, item := range part {
		request.Items[i] = item.request
	}
	return request
}

func (s *scope) setPart(
	ctx context.Context, part []batchItem, o *callOptions, results map[string]Write,
) error {
	spec := s.spec("BatchSet", o, true, true)
	answer, err := unary(
		ctx, s.core.caller, spec, larderpb.CacheServiceClient.BatchSet, batchOf(part),
	)
	for i, item := range part {
		switch {
		case err != nil:
			write, err := s.unwritten(err)
			if err != nil {
				return err
			}
			results[item.key] = write
		case i < len(answer.Results):
			results[item.key] = writeOf(answer.Results[i])
		default:
			results[item.key] = Write{Reason: NotStored}
		}
	}
	return nil
}

// Touch gives a fresh entry a new TTL from now.
func (n *Namespace) Touch(
	ctx context.Context, key string, ttl time.Duration, options ...TouchOption,
) (Touched, error) {
	var o callOptions
	for _, option := range options {
		option.forTouch(&o)
	}
	at, err := o.address(key)
	if err != nil {
		return Touched{}, err
	}
	if err := positive(ttl, "ttl"); err != nil {
		return Touched{}, err
	}
	request := &larderpb.TouchRequest{
		Namespace: n.namespace, Key: at.key, Params: at.params, Ttl: toWire(ttl),
	}
	defer n.changing(at.key)()
	spec := n.spec("Touch", &o, true, true)
	answer, err := unary(ctx, n.core.caller, spec, larderpb.CacheServiceClient.Touch, request)
	if err != nil {
		if n.failsOpen(err) {
			return Touched{Degraded: true, Err: err}, nil
		}
		return Touched{}, err
	}
	return Touched{
		Found: answer.Found, TTL: asDuration(answer.Ttl), Degraded: answer.Degraded,
	}, nil
}
