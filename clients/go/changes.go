package larder

import (
	"context"

	"larder.test/clients/go/larderpb"
)

// Delete removes one entry. After that no read returns what was written, leased or fetched before.
// The error is [ErrUnavailable] if the store did not apply it.
func (n *Namespace) Delete(
	ctx context.Context, key string, options ...DeleteOption,
) (Deletion, error) {
	deletion, _, err := n.remove(ctx, key, false, options)
	return deletion, err
}

// Take removes one entry, and returns what it held.
func (c *Cache[T]) Take(
	ctx context.Context, key string, options ...DeleteOption,
) (Deletion, Result[T], error) {
	deletion, removed, err := c.remove(ctx, key, true, options)
	if err != nil || removed == nil {
		return deletion, Result[T]{}, err
	}
	result, _ := readResult(&c.scope, c.codec, answered{
		removed.Outcome, removed.Value, removed.Entry, false,
	})
	return deletion, result, nil
}

func (s *scope) remove(
	ctx context.Context, key string, returnValue bool, options []DeleteOption,
) (Deletion, *larderpb.Found, error) {
	var o callOptions
	for _, option := range options {
		option.forDelete(&o)
	}
	at, err := o.address(key)
	if err != nil {
		return Deletion{}, nil, err
	}
	request := &larderpb.DeleteRequest{
		Namespace: s.namespace, Key: at.key, Params: at.params, HoldOff: wireTTL(o.holdOff),
		IfVersion: o.ifVersion, ReturnValue: returnValue,
	}
	defer s.removing(effect{keys: map[string]bool{at.key: true}})()
	spec := s.spec("Delete", &o, o.ifVersion == nil && !returnValue, false)
	answer, err := unary(ctx, s.core.caller, spec, larderpb.CacheServiceClient.Delete, request)
	if err != nil {
		return Deletion{}, nil, err
	}
	return Deletion{
		Existed: answer.Existed, Deleted: answer.Deleted, Queued: queued(answer.Durability),
	}, answer.Removed, nil
}

func queued(durability larderpb.Durability) bool {
	return durability == larderpb.Durability_DURABILITY_QUEUED
}

// DeleteMany removes several entries, each with the guarantee of Delete.
func (n *Namespace) DeleteMany(
	ctx context.Context, keys []string, options ...DeleteManyOption,
) (map[string]Deletion, error) {
	var o callOptions
	for _, option := range options {
		option.forDeleteMany(&o)
	}
	all, err := o.wantedKeys(keys)
	if err != nil {
		return nil, err
	}
	defer n.removing(effect{keys: keysOf(all)})()
	results := make(map[string]Deletion, len(all))
	for len(all) > 0 {
		part := all[:min(batchKeys, len(all))]
		all = all[len(part):]
		request := &larderpb.BatchDeleteRequest{
			Keys: n.keyRefs(part), HoldOff: wireTTL(o.holdOff),
		}
		spec := n.spec("BatchDelete", &o, true, false)
		answer, err := unary(
			ctx, n.core.caller, spec, larderpb.CacheServiceClient.BatchDelete, request,
		)
		if err != nil {
			return nil, err
		}
		for i, each := range part {
			results[each.key] = Deletion{
				Existed: at(answer.Existed, i), Deleted: at(answer.Deleted, i),
				Queued: queued(at(answer.Durabilities, i)),
			}
		}
	}
	return results, nil
}

// keysOf are the keys as the server has them.
func keysOf(all []wanted) map[string]bool {
	keys := make(map[string]bool, len(all))
	for _, each := range all {
		keys[each.at.key] = true
	}
	return keys
}

func at[E any](list []E, i int) (found E) {
	if i < len(list) {
		found = list[i]
	}
	return found
}

// Increment adds to a counter, atomically. A missing one starts from [Initial]. It is not repeated
// after an error: the sum may be applied. The error is [ErrFailedPrecondition] if the entry is not
// an integer (`NOT_AN_INTEGER`), or the sum needs more than 64 bits (`OVERFLOW`).
func (n *Namespace) Increment(
	ctx context.Context, key string, delta int64, options ...IncrementOption,
) (Counter, error) {
	var o callOptions
	for _, option := range options {
		option.forIncrement(&o)
	}
	at, err := o.address(key)
	if err != nil {
		return Counter{}, err
	}
	ttl := n.ttlOf(&o)
	if ttl != nil {
		if err := positive(*ttl, "TTL"); err != nil {
			return Counter{}, err
		}
	}
	request := &larderpb.IncrementRequest{
		Namespace: n.namespace, Key: at.key, Params: at.params, Delta: &delta,
		Initial: o.initial, Ttl: wireTTL(ttl), IfPresent: o.ifExists,
	}
	defer n.changing(at.key)()
	spec := n.spec("Increment", &o, false, false)
	answer, err := unary(ctx, n.core.caller, spec, larderpb.CacheServiceClient.Increment, request)
	if err != nil {
		return Counter{}, err
	}
	return Counter{
		Value: answer.Value, Missing: answer.Missing, Version: answer.Version,
		TTLRemaining: asDuration(answer.TtlRemaining),
	}, nil
}

// MergePatch changes a part of a JSON value, atomically, by a merge patch (RFC 7396): names with
// null are removed.
func (n *Namespace) MergePatch(
	ctx context.Context, key string, merge any, options ...PatchOption,
) (Patched, error) {
	encoded, err := jsonOf(merge, true)
	if err != nil {
		return Patched{}, err
	}
	request := &larderpb.PatchRequest{
		Patch: &larderpb.PatchRequest_MergePatch{MergePatch: encoded.Text},
	}
	return n.patch(ctx, key, request, options)
}

// JSONPatch changes a part of a JSON value, atomically, by the operations of a patch (RFC 6902):
// all of them, or none.
func (n *Namespace) JSONPatch(
	ctx context.Context, key string, operations []PatchOperation, options ...PatchOption,
) (Patched, error) {
	encoded, err := jsonOf(operations, true)
	if err != nil {
		return Patched{}, err
	}
	request := &larderpb.PatchRequest{
		Patch: &larderpb.PatchRequest_JsonPatch{JsonPatch: encoded.Text},
	}
	return n.patch(ctx, key, request, options)
}

// PatchOperation is an operation of a JSON Patch (RFC 6902), such as
// {"op": "replace", "path": "/name", "value": "new"}.
type PatchOperation map[string]any

func (n *Namespace) patch(
	ctx context.Context, key string, request *larderpb.PatchRequest, options []PatchOption,
) (Patched, error) {
	var o callOptions
	for _, option := range options {
		option.forPatch(&o)
	}
	at, err := o.address(key)
	if err != nil {
		return Patched{}, err
	}
	ttl := n.ttlOf(&o)
	switch {
	case o.keepTTL && o.ttl != nil:
		return Patched{}, wrong("TTL, KeepTTL", "at most one can be set")
	case o.keepTTL:
		request.Expiry = &larderpb.PatchRequest_Keep{Keep: true}
	case ttl != nil:
		if err := positive(*ttl, "TTL"); err != nil {
			return Patched{}, err
		}
		request.Expiry = &larderpb.PatchRequest_Ttl{Ttl: toWire(*ttl)}
	}
	request.Namespace, request.Key, request.Params = n.namespace, at.key, at.params
	request.IfVersion = o.ifVersion
	defer n.changing(at.key)()
	spec := n.spec("Patch", &o, false, false)
	answer, err := unary(ctx, n.core.caller, spec, larderpb.CacheServiceClient.Patch, request)
	if err != nil {
		return Patched{}, err
	}
	return Patched{
		Applied: answer.Result == larderpb.PatchResult_PATCH_RESULT_APPLIED,
		Missing: answer.Result == larderpb.PatchResult_PATCH_RESULT_MISSING,
		Version: answer.Version, TTL: asDuration(answer.Ttl),
	}, nil
}
