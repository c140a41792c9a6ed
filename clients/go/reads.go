package larder

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"larder.test/clients/go/larderpb"
)

// readFields are the fields that all requests of reads have.
type readFields struct {
	maxStale    *durationpb.Duration
	consistency larderpb.Consistency
	touch       *durationpb.Duration
}

func (o *callOptions) readFields(fresh bool) (fields readFields) {
	if o.maxStale != nil {
		fields.maxStale = toWire(*o.maxStale)
	}
	if fresh || o.consistent {
		fields.consistency = larderpb.Consistency_CONSISTENCY_STORE
	}
	if o.sliding != nil {
		fields.touch = toWire(*o.sliding)
	}
	return fields
}

// answered is a read that the server has answered.
type answered struct {
	outcome  larderpb.Outcome
	value    *larderpb.Value
	entry    *larderpb.EntryInfo
	degraded bool
}

// readResult is the result of a read, with its counters. encoded is what a near cache may keep.
func readResult[T any](
	s *scope, codec Codec[T], read answered,
) (result Result[T], encoded Encoded) {
	result.Degraded = read.degraded
	switch read.outcome {
	case larderpb.Outcome_OUTCOME_HIT, larderpb.Outcome_OUTCOME_STALE:
		var err error
		if encoded, err = encodedOf(read.value); err == nil {
			result.Value, err = codec.Decode(encoded)
		}
		if err != nil {
			s.count.undecodable.Add(1)
			s.count.misses.Add(1)
			return Result[T]{Degraded: read.degraded, Err: &DecodeError{Err: err}}, Encoded{}
		}
		describe(&result, read.entry)
		if read.outcome == larderpb.Outcome_OUTCOME_HIT {
			s.count.hits.Add(1)
			result.Outcome = Hit
		} else {
			s.count.stale.Add(1)
			result.Outcome = Stale
		}
	case larderpb.Outcome_OUTCOME_NEGATIVE:
		s.count.negatives.Add(1)
		result.Outcome = Negative
		describe(&result, read.entry)
	default:
		s.count.misses.Add(1)
	}
	return result, encoded
}

// missAtOutage is a miss in place of an outage, and the error otherwise.
func missAtOutage[T any](s *scope, err error) (Result[T], error) {
	if !s.failsOpen(err) {
		return Result[T]{}, err
	}
	s.count.misses.Add(1)
	return Result[T]{Degraded: true, Err: err}, nil
}

// nearFor is the near cache that a read may use; nil: none.
func (s *scope) nearFor(o *callOptions) *nearStore {
	if s.near == nil || o.consistent || o.sliding != nil {
		return nil
	}
	return s.near
}

// Get reads one entry. Without the cache it is a miss.
func (c *Cache[T]) Get(
	ctx context.Context, key string, options ...GetOption,
) (result Result[T], err error) {
	if c.near != nil && len(options) == 0 {
		// The way of most reads with a near cache.
		if found, ok := nearGet(c, entryID{key: key}); ok {
			return found, nil
		}
	}
	var o callOptions
	for _, option := range options {
		option.forGet(&o)
	}
	at, err := o.address(key)
	if err != nil {
		return result, err
	}
	near := c.nearFor(&o)
	var pending *pendingRead
	if near != nil {
		id := at.id()
		if found, ok := nearGet(c, id); ok {
			return found, nil
		}
		pending = near.begin(id)
		// Also after a panic of the codec.
		defer near.drop(pending)
	}
	fields := o.readFields(pending != nil)
	request := &larderpb.GetRequest{
		Namespace: c.namespace, Key: at.key, Params: at.params, MaxStale: fields.maxStale,
		Consistency: fields.consistency, Touch: fields.touch,
	}
	spec := c.spec("Get", &o, true, true)
	answer, err := unary(ctx, c.core.caller, spec, larderpb.CacheServiceClient.Get, request)
	if err != nil {
		return missAtOutage[T](&c.scope, err)
	}
	result, encoded := readResult(&c.scope, c.codec, answered{
		answer.Outcome, answer.Value, answer.Entry, answer.Degraded,
	})
	nearPut(c, pending, result, encoded)
	return result, nil
}

// Has reports whether Get would find a value. The value is not transferred. At an outage, and while
// the store of the server is away, it is false, as Get is a miss. Programs for which that is not
// the same as the absence of a value look at Degraded of Get.
func (n *Namespace) Has(ctx context.Context, key string, options ...GetOption) (bool, error) {
	var o callOptions
	for _, option := range options {
		option.forGet(&o)
	}
	at, err := o.address(key)
	if err != nil {
		return false, err
	}
	fields := o.readFields(false)
	request := &larderpb.GetRequest{
		Namespace: n.namespace, Key: at.key, Params: at.params, MaxStale: fields.maxStale,
		Consistency: fields.consistency, Touch: fields.touch, OmitValue: true,
	}
	spec := n.spec("Get", &o, true, true)
	answer, err := unary(ctx, n.core.caller, spec, larderpb.CacheServiceClient.Get, request)
	if err != nil {
		if n.failsOpen(err) {
			return false, nil
		}
		return false, err
	}
	found := answer.Outcome == larderpb.Outcome_OUTCOME_HIT ||
		answer.Outcome == larderpb.Outcome_OUTCOME_STALE
	return found, nil
}

// address checks the options and the key of a call.
func (o *callOptions) address(key string) (address, error) {
	if err := o.check(); err != nil {
		return address{}, err
	}
	return addressOf(key, o.params)
}

// wanted is a key of a batch with its address.
type wanted struct {
	key string
	at  address
}

// wantedKeys checks the options and the keys of a batch; a key that is named twice is there once.
func (o *callOptions) wantedKeys(keys []string) ([]wanted, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	addresses, err := addressesOf(keys, o.params)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]struct{}, len(keys))
	list := make([]wanted, 0, len(keys))
	for i, key := range keys {
		if _, twice := seen[key]; !twice {
			seen[key] = struct{}{}
			list = append(list, wanted{key, addresses[i]})
		}
	}
	return list, nil
}

func (s *scope) keyRefs(part []wanted) []*larderpb.KeyRef {
	refs := make([]*larderpb.KeyRef, len(part))
	for i, each := range part {
		refs[i] = &larderpb.KeyRef{
			Namespace: s.namespace, Key: each.at.key, Params: each.at.params,
		}
	}
	return refs
}

// GetMany reads several entries. The map has a result for each of the keys.
func (c *Cache[T]) GetMany(
	ctx context.Context, keys []string, options ...GetManyOption,
) (map[string]Result[T], error) {
	var o callOptions
	for _, option := range options {
		option.forGetMany(&o)
	}
	all, err := o.wantedKeys(keys)
	if err != nil {
		return nil, err
	}
	results := make(map[string]Result[T], len(all))
	missing := all
	near := c.nearFor(&o)
	if near != nil {
		missing = nearGetMany(c, all, results)
	}
	for len(missing) > 0 {
		part := missing[:min(batchKeys, len(missing))]
		missing = missing[len(part):]
		if err := c.getPart(ctx, part, &o, near, results); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (c *Cache[T]) getPart(
	ctx context.Context, part []wanted, o *callOptions, near *nearStore,
	results map[string]Result[T],
) error {
	pending := near.beginAll(part)
	defer near.dropAll(pending)
	fields := o.readFields(pending != nil)
	request := &larderpb.BatchGetRequest{
		Keys: c.keyRefs(part), MaxStale: fields.maxStale, Consistency: fields.consistency,
		Touch: fields.touch,
	}
	spec := c.spec("BatchGet", o, true, true)
	messages, err := collect(
		ctx, c.core.caller, spec, larderpb.CacheServiceClient.BatchGet, request,
	)
	if err != nil {
		for _, each := range part {
			result, err := missAtOutage[T](&c.scope, err)
			if err != nil {
				return err
			}
			results[each.key] = result
		}
		return nil
	}
	i := 0
	for _, message := range messages {
		for _, read := range message.Results {
			if i >= len(part) {
				break
			}
			// Of a message, the keys that missed may be those that the store did not answer for.
			away := message.Degraded && read.Outcome == larderpb.Outcome_OUTCOME_MISS
			result, encoded := readResult(&c.scope, c.codec, answered{
				read.Outcome, read.Value, read.Entry, away,
			})
			results[part[i].key] = result
			if pending != nil {
				nearPut(c, pending[i], result, encoded)
			}
			i++
		}
	}
	for ; i < len(part); i++ {
		// An answer that ends early has no results for the rest.
		results[part[i].key] = Result[T]{Degraded: true}
	}
	return nil
}

// nearGet is the value of the near cache, if it is certain to be that of the store.
func nearGet[T any](c *Cache[T], id entryID) (result Result[T], ok bool) {
	entry, now := c.near.get(id)
	if entry == nil {
		return result, false
	}
	if shared, same := entry.decoded.(*T); same && entry.codec == c.codecID {
		result.Value = *shared
	} else {
		value, err := c.codec.Decode(entry.encoded.clone())
		if err != nil {
			return result, false
		}
		result.Value = value
	}
	c.count.nearHits.Add(1)
	result.Outcome = Hit
	result.Version = entry.version
	result.Age = now.Sub(entry.writtenAt)
	result.TTLRemaining = entry.endsAt.Sub(now)
	result.Tags = entry.tags
	result.Tier = TierClient
	return result, true
}

// nearGetMany takes the results that the near cache has, and returns the other keys.
func nearGetMany[T any](c *Cache[T], all []wanted, results map[string]Result[T]) (rest []wanted) {
	for _, each := range all {
		if found, ok := nearGet(c, each.at.id()); ok {
			results[each.key] = found
		} else {
			rest = append(rest, each)
		}
	}
	return rest
}

// nearPut ends a read, and keeps its result if nothing has changed meanwhile.
func nearPut[T any](c *Cache[T], pending *pendingRead, result Result[T], encoded Encoded) {
	if pending == nil {
		return
	}
	if result.Outcome != Hit || result.Tier != TierStore {
		c.near.drop(pending)
		return
	}
	entry := &nearEntry{
		id: pending.id, codec: c.codecID, version: result.Version, tags: result.Tags,
		// The lifetimes are those of the answer, which is later than the begin of the read.
		writtenAt: pending.startedAt.Add(-result.Age),
		endsAt:    pending.startedAt.Add(min(result.TTLRemaining, maxNearLife)),
	}
	entry.bytes = nearEntryBytes + encoded.size() + len(pending.id.key) + len(pending.id.params)
	for _, tag := range result.Tags {
		entry.bytes += tagBytes + len(tag)
	}
	if c.shares {
		value := result.Value
		entry.decoded = &value
		// Text is decoded in its place.
		if text, isText := any(value).(string); !isText || text != encoded.Text {
			entry.bytes += footprint(value)
		}
	}
	// A program that changes the bytes that it has read must not change the entry.
	entry.encoded = encoded.clone()
	c.near.keep(pending, entry)
}

// maxNearLife keeps times within the range of a clock.
const maxNearLife = 365 * 24 * time.Hour
