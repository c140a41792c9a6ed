package larder

import (
	"context"
	"iter"
	"time"

	"larder.test/clients/go/larderpb"
)

// ListedKey is the key of an entry.
type ListedKey struct {
	Key string
	// ParamsDigest is that of the params and the schema versions; empty if there are none.
	ParamsDigest string
}

// listTimeout is for calls that go through the whole store.
const listTimeout = 5 * time.Second

func (s *scope) listSpec(method string, o *callOptions) callSpec {
	spec := s.spec(method, o, true, false)
	if !o.hasTimeout {
		spec.timeout = max(spec.timeout, listTimeout)
	}
	return spec
}

func listOptions(options []ListOption) (*callOptions, error) {
	o := &callOptions{}
	for _, option := range options {
		option.forList(o)
	}
	if o.pageSize < 0 {
		return nil, wrong("PageSize", "must not be negative, got %d", o.pageSize)
	}
	return o, o.check()
}

// ListKeys are the keys of the namespace, in no order, with those of all params. A page is asked
// for when it is needed. After an error there are no more keys.
func (n *Namespace) ListKeys(
	ctx context.Context, options ...ListOption,
) iter.Seq2[ListedKey, error] {
	return func(yield func(ListedKey, error) bool) {
		o, err := listOptions(options)
		if err != nil {
			yield(ListedKey{}, err)
			return
		}
		for token := ""; ; {
			request := &larderpb.ListKeysRequest{
				Namespace: n.namespace, Glob: o.glob, PageSize: uint32(o.pageSize),
				PageToken: token,
			}
			answer, err := unary(ctx, n.core.caller, n.listSpec("ListKeys", o),
				larderpb.CacheServiceClient.ListKeys, request)
			if err != nil {
				yield(ListedKey{}, err)
				return
			}
			for _, key := range answer.Keys {
				if !yield(ListedKey{Key: key.Key, ParamsDigest: key.ParamsDigest}, nil) {
					return
				}
			}
			if token = answer.NextPageToken; token == "" {
				return
			}
		}
	}
}

// CountKeys is the number of keys that ListKeys lists.
func (n *Namespace) CountKeys(ctx context.Context, options ...ListOption) (uint64, error) {
	o, err := listOptions(options)
	if err != nil {
		return 0, err
	}
	var count uint64
	for token := ""; ; {
		request := &larderpb.CountKeysRequest{
			Namespace: n.namespace, Glob: o.glob, PageToken: token,
		}
		answer, err := unary(ctx, n.core.caller, n.listSpec("CountKeys", o),
			larderpb.CacheServiceClient.CountKeys, request)
		if err != nil {
			return 0, err
		}
		count += answer.Count
		if token = answer.NextPageToken; token == "" {
			return count, nil
		}
	}
}

// Stats is the statistics of the namespace in the whole fleet; nil if there are none yet.
func (n *Namespace) Stats(
	ctx context.Context, options ...PlainOption,
) (*larderpb.NamespaceStats, error) {
	all, err := n.stats(ctx, []string{n.namespace}, options)
	if err != nil {
		return nil, err
	}
	for _, each := range all.Namespaces {
		if each.Namespace == n.namespace {
			return each, nil
		}
	}
	return nil, nil
}

func (s *scope) stats(
	ctx context.Context, namespaces []string, options []PlainOption,
) (*larderpb.StatsResponse, error) {
	o, err := plainOptions(options)
	if err != nil {
		return nil, err
	}
	var all *larderpb.StatsResponse
	for token := ""; ; {
		request := &larderpb.StatsRequest{Namespaces: namespaces, PageToken: token}
		answer, err := unary(ctx, s.core.caller, s.listSpec("Stats", o),
			larderpb.CacheServiceClient.Stats, request)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = answer
		} else {
			all.Namespaces = append(all.Namespaces, answer.Namespaces...)
		}
		if token = answer.NextPageToken; token == "" {
			all.NextPageToken = ""
			return all, nil
		}
	}
}
