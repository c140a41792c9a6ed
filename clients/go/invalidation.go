package larder

import (
	"context"

	"larder.test/clients/go/larderpb"
)

// Targets are entries to invalidate.
type Targets struct {
	// Tags select entries with any of them.
	Tags []string
	// Globs select entries whose key matches: `*`, `?`, `[a-z]`, with any params.
	Globs []string
	// Keys select these entries, with the params of the call.
	Keys []string
}

const tagsPerTarget = 32

// Invalidate makes entries unreachable by tag, by pattern and by key. The error is [ErrUnavailable]
// if the store did not apply all of it; the call can be repeated. More than 1,000 targets are
// several calls.
func (n *Namespace) Invalidate(
	ctx context.Context, selected Targets, options ...InvalidateOption,
) (Invalidation, error) {
	var o callOptions
	for _, option := range options {
		option.forInvalidate(&o)
	}
	if err := o.check(); err != nil {
		return Invalidation{}, err
	}
	addresses, err := addressesOf(selected.Keys, o.params)
	if err != nil {
		return Invalidation{}, err
	}
	targets := n.targets(selected, addresses)
	named := make(map[string]bool, len(addresses))
	for _, at := range addresses {
		named[at.key] = true
	}
	defer n.removing(effect{keys: named, globs: selected.Globs, tags: selected.Tags})()
	if err := n.core.caller.checkOpen(); err != nil {
		return Invalidation{}, err
	}
	var result Invalidation
	for len(targets) > 0 {
		part := targets[:min(batchKeys, len(targets))]
		targets = targets[len(part):]
		request := &larderpb.InvalidateRequest{Targets: part, HoldOff: wireTTL(o.holdOff)}
		spec := n.spec("Invalidate", &o, true, false)
		answer, err := unary(
			ctx, n.core.caller, spec, larderpb.CacheServiceClient.Invalidate, request,
		)
		if err != nil {
			return Invalidation{}, err
		}
		result.Queued = result.Queued || queued(answer.Durability)
		for _, each := range answer.Results {
			if len(result.Existed) < len(addresses) {
				result.Existed = append(result.Existed, each.Existed)
			}
			result.NamespaceInvalidated = result.NamespaceInvalidated || each.NamespaceInvalidated
		}
	}
	return result, nil
}

func (s *scope) targets(selected Targets, addresses []address) []*larderpb.Target {
	var targets []*larderpb.Target
	for _, at := range addresses {
		ref := &larderpb.KeyRef{Namespace: s.namespace, Key: at.key, Params: at.params}
		targets = append(targets, &larderpb.Target{Target: &larderpb.Target_Key{Key: ref}})
	}
	for tags := selected.Tags; len(tags) > 0; {
		part := tags[:min(tagsPerTarget, len(tags))]
		tags = tags[len(part):]
		target := &larderpb.TagTarget{Namespace: s.namespace, Tags: part}
		targets = append(targets, &larderpb.Target{Target: &larderpb.Target_Tags{Tags: target}})
	}
	for _, glob := range selected.Globs {
		target := &larderpb.PatternTarget{Namespace: s.namespace, Glob: glob}
		targets = append(targets, &larderpb.Target{
			Target: &larderpb.Target_Pattern{Pattern: target},
		})
	}
	return targets
}

// InvalidateNamespace makes all entries unreachable, at a cost independent of their number.
func (n *Namespace) InvalidateNamespace(
	ctx context.Context, options ...PlainOption,
) (Invalidation, error) {
	o, err := plainOptions(options)
	if err != nil {
		return Invalidation{}, err
	}
	defer n.removing(effect{all: true})()
	request := &larderpb.InvalidateNamespaceRequest{Namespace: n.namespace}
	spec := n.spec("InvalidateNamespace", o, true, false)
	answer, err := unary(
		ctx, n.core.caller, spec, larderpb.CacheServiceClient.InvalidateNamespace, request,
	)
	if err != nil {
		return Invalidation{}, err
	}
	return Invalidation{Queued: queued(answer.Durability), NamespaceInvalidated: true}, nil
}

func plainOptions(options []PlainOption) (*callOptions, error) {
	o := &callOptions{}
	for _, option := range options {
		option.forPlain(o)
	}
	return o, o.check()
}

// PublishEvent invalidates what the rules of the server select for an event, in all namespaces.
func (n *Namespace) PublishEvent(
	ctx context.Context, name string, attributes map[string]string, options ...PlainOption,
) (Published, error) {
	return n.publish(ctx, name, attributes, options)
}

func (s *scope) publish(
	ctx context.Context, name string, attributes map[string]string, options []PlainOption,
) (Published, error) {
	o, err := plainOptions(options)
	if err != nil {
		return Published{}, err
	}
	defer s.core.removingAll()()
	event := &larderpb.EventTarget{Name: name, Attributes: attributes}
	request := &larderpb.InvalidateRequest{
		Targets: []*larderpb.Target{{Target: &larderpb.Target_Event{Event: event}}},
	}
	spec := s.spec("Invalidate", o, true, false)
	answer, err := unary(ctx, s.core.caller, spec, larderpb.CacheServiceClient.Invalidate, request)
	if err != nil {
		return Published{}, err
	}
	published := Published{Queued: queued(answer.Durability)}
	for _, each := range answer.Events {
		published.Targets += len(each.Targets)
	}
	return published, nil
}
