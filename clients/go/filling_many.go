package larder

import (
	"context"
	"errors"

	"larder.test/clients/go/larderpb"
)

// fills are the values of a computation that are being stored.
type fills struct {
	items   []batchItem
	leases  map[*larderpb.SetRequest]*heldLease
	stored  map[string]Write
	expired []expiredKey
}

// expiredKey is a key whose new value has no lifetime, with the lease for it.
type expiredKey struct {
	wanted
	lease *heldLease
}

// store fills the leases of the values that were computed, in as few calls as possible. They are
// renewed until then.
func (f *fetchMany[T]) store(
	ctx context.Context, missing []missingKey[T], values map[string]Loaded[T],
) map[string]Write {
	all := &fills{
		leases: map[*larderpb.SetRequest]*heldLease{},
		stored: make(map[string]Write, len(missing)),
	}
	for _, each := range missing {
		if each.lease == nil {
			continue
		}
		value, ok := values[each.key]
		if !ok {
			each.lease.passOn()
			continue
		}
		request, done, then := fillOf(each.lease, f.c.codec, value, f.o)
		if request == nil {
			all.stored[each.key] = done
			if then == thenDelete {
				all.expired = append(all.expired, expiredKey{each.wanted, each.lease})
				continue
			}
			each.lease.after(then)
			continue
		}
		encoded, _ := encodedOf(request.Value)
		all.items = append(all.items, batchItem{each.key, encoded.size() + itemBytes, request})
		all.leases[request] = each.lease
	}
	// The work is done, so that the values are stored although their caller may leave.
	ctx = context.WithoutCancel(ctx)
	for items := all.items; len(items) > 0; {
		var part []batchItem
		part, items = nextBatch(items)
		if err := f.fill(ctx, part, all); err != nil {
			// Once for all: a batch has up to 1,000 values.
			f.c.logUnfilled(err)
		}
	}
	f.expire(ctx, all.expired)
	return all.stored
}

// fill stores a part, and returns the error of the call.
func (f *fetchMany[T]) fill(ctx context.Context, part []batchItem, all *fills) error {
	c := f.c
	changed := make([]wanted, len(part))
	for i, item := range part {
		changed[i].at.key = item.request.Key
	}
	defer c.changingMany(changed)()
	spec := c.spec("BatchSet", nil, false, false)
	answer, err := unary(
		ctx, c.core.caller, spec, larderpb.CacheServiceClient.BatchSet, batchOf(part),
	)
	switch {
	case err == nil:
		for i, item := range part {
			all.stored[item.key] = all.leases[item.request].filled(at(answer.Results, i))
		}
	case len(part) > 1 && isOfOneItem(err):
		// One item that is wrong fails a batch, so that each is tried alone.
		for _, item := range part {
			_ = f.fill(ctx, []batchItem{item}, all)
		}
	default:
		for _, item := range part {
			all.stored[item.key] = all.leases[item.request].unfilled(err)
		}
	}
	return err
}

// isOfOneItem reports whether an error may be that of one item of a batch.
func isOfOneItem(err error) bool {
	return errors.Is(err, ErrInvalidArgument) || errors.Is(err, ErrValueTooLarge) ||
		errors.Is(err, ErrMessageTooLarge)
}

// expire deletes the entries whose new values have no lifetime, which ends the leases, too. Leases
// are renewed until then, and passed on if that fails.
func (f *fetchMany[T]) expire(ctx context.Context, expired []expiredKey) {
	if len(expired) == 0 {
		return
	}
	c := f.c
	keys := make([]wanted, len(expired))
	for i, each := range expired {
		keys[i] = each.wanted
	}
	c.count.fillsRefused.Add(uint64(len(keys)))
	defer c.changingMany(keys)()
	spec := c.spec("BatchDelete", nil, true, false)
	spec.parting = true
	// Without this call the entries end by themselves. Its error is counted.
	_, err := unary(ctx, c.core.caller, spec, larderpb.CacheServiceClient.BatchDelete,
		&larderpb.BatchDeleteRequest{Keys: c.keyRefs(keys)})
	for _, each := range expired {
		if err != nil {
			each.lease.passOn()
		} else {
			each.lease.settle()
		}
	}
}
