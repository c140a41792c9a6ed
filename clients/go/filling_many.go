package larder

import (
	"context"

	"larder.test/clients/go/larderpb"
)

// store fills the leases of the values that were computed, in as few calls as possible.
func (f *fetchMany[T]) store(
	ctx context.Context, missing []missingKey[T], values map[string]Loaded[T],
) (map[string]Write, error) {
	stored := make(map[string]Write, len(missing))
	var items []batchItem
	leases := map[*larderpb.SetRequest]*heldLease{}
	defer func() {
		for _, each := range missing {
			if each.lease != nil {
				each.lease.release()
			}
		}
	}()
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
			each.lease.after(then)
			stored[each.key] = done
			continue
		}
		encoded, _ := encodedOf(request.Value)
		items = append(items, batchItem{each.key, encoded.size() + itemBytes, request})
		leases[request] = each.lease
	}
	for len(items) > 0 {
		var part []batchItem
		part, items = nextBatch(items)
		if err := f.fill(ctx, part, leases, stored); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

func (f *fetchMany[T]) fill(
	ctx context.Context, part []batchItem, leases map[*larderpb.SetRequest]*heldLease,
	stored map[string]Write,
) error {
	c := f.c
	changed := make([]wanted, len(part))
	for i, item := range part {
		changed[i].at.key = item.request.Key
	}
	defer c.changingMany(changed)()
	spec := c.spec("BatchSet", nil, false, false)
	answer, err := unary(context.WithoutCancel(ctx), c.core.caller, spec,
		larderpb.CacheServiceClient.BatchSet, batchOf(part))
	if err == nil {
		for i, item := range part {
			stored[item.key] = c.filled(at(answer.Results, i))
		}
		return nil
	}
	if len(part) > 1 && !isOutage(err) {
		// One item that is wrong fails a batch, so that each is tried alone.
		for _, item := range part {
			if err := f.fill(ctx, []batchItem{item}, leases, stored); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range part {
		leases[item.request].passOn()
		write, err := c.unfilled(err)
		if err != nil {
			return err
		}
		stored[item.key] = write
	}
	return nil
}
