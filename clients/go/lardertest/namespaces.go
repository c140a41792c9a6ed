package lardertest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"larder.test/clients/go/larderpb"
)

// Invalidate is the call of the service.
func (s *service) Invalidate(
	ctx context.Context, request *larderpb.InvalidateRequest,
) (*larderpb.InvalidateResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(request.Targets) == 0 {
		return nil, invalid("targets", "must not be empty")
	}
	selected := make([][]*larderpb.Target, len(request.Targets))
	for i, target := range request.Targets {
		field := fmt.Sprintf("targets[%d].", i)
		if err := checkTarget(target, field); err != nil {
			return nil, err
		}
		if event := target.GetEvent(); event != nil && s.events[event.Name] != nil {
			var err error
			if selected[i], err = s.events[event.Name](event.Attributes); err != nil {
				return nil, invalid(field+"event.attributes", "%v", err)
			}
		}
	}
	if s.degraded {
		return nil, storeUnavailable()
	}
	answer := &larderpb.InvalidateResponse{Durability: larderpb.Durability_DURABILITY_APPLIED}
	wait := request.HoldOff.AsDuration()
	for i, target := range request.Targets {
		if target.GetEvent() == nil {
			result, err := s.apply(ctx, target, wait)
			if err != nil {
				return nil, err
			}
			answer.Results = append(answer.Results, result)
			continue
		}
		event, existed := &larderpb.EventResult{}, false
		for _, each := range selected[i] {
			result, err := s.apply(ctx, each, wait)
			if err != nil {
				return nil, err
			}
			existed = existed || result.Existed
			event.Targets = append(event.Targets, &larderpb.EventTargetResult{
				Target: each, Result: result,
			})
		}
		answer.Events = append(answer.Events, event)
		answer.Results = append(answer.Results, targetResult(existed, false))
	}
	return answer, nil
}

func targetResult(existed, namespaceInvalidated bool) *larderpb.TargetResult {
	return &larderpb.TargetResult{
		Existed: existed, NamespaceInvalidated: namespaceInvalidated,
		Durability: larderpb.Durability_DURABILITY_APPLIED,
	}
}

func checkTarget(target *larderpb.Target, field string) error {
	switch one := target.Target.(type) {
	case *larderpb.Target_Namespace:
		return checkNamespace(one.Namespace, field)
	case *larderpb.Target_Tags:
		if err := checkNamespace(one.Tags.Namespace, field+"tags."); err != nil {
			return err
		}
		if len(one.Tags.Tags) == 0 {
			return invalid(field+"tags.tags", "must not be empty")
		}
		return checkTags(one.Tags.Tags, field+"tags.tags")
	case *larderpb.Target_Pattern:
		if err := checkNamespace(one.Pattern.Namespace, field+"pattern."); err != nil {
			return err
		}
		_, err := checkGlob(one.Pattern.Glob, field+"pattern.glob")
		return err
	case *larderpb.Target_Key:
		return checkKey(one.Key, field+"key.")
	case *larderpb.Target_Event:
		if one.Event.Name == "" {
			return invalid(field+"event.name", "must be set")
		}
		return nil
	}
	return invalid(field, "must be set")
}

func (f *Fake) apply(
	ctx context.Context, target *larderpb.Target, wait time.Duration,
) (*larderpb.TargetResult, error) {
	switch one := target.Target.(type) {
	case *larderpb.Target_Namespace:
		f.invalidateNamespace(one.Namespace)
		f.addHoldOff(wait, func(at place, _ []string) bool { return at.namespace == one.Namespace })
		return targetResult(false, true), nil
	case *larderpb.Target_Tags:
		namespace, tags := one.Tags.Namespace, one.Tags.Tags
		named := func(held []string) bool {
			return slices.ContainsFunc(held, func(tag string) bool {
				return slices.Contains(tags, tag)
			})
		}
		for _, each := range f.of(namespace) {
			if named(each.tags) {
				delete(f.entries, each.place)
			}
		}
		for at, lease := range f.leases.held {
			for _, tag := range tags {
				lease.banned[tag] = lease.banned[tag] || at.namespace == namespace
			}
		}
		f.addHoldOff(wait, func(at place, held []string) bool {
			return at.namespace == namespace && named(held)
		})
		f.announce(namespace, &larderpb.WatchResponse{
			Event: &larderpb.WatchResponse_TagsInvalidated{
				TagsInvalidated: &larderpb.TagsInvalidated{Namespace: namespace, Tags: tags},
			},
		})
		return targetResult(false, false), nil
	case *larderpb.Target_Pattern:
		namespace, glob := one.Pattern.Namespace, one.Pattern.Glob
		matches, err := checkGlob(glob, "glob")
		if err != nil {
			return nil, err
		}
		for _, each := range f.of(namespace) {
			if matches(each.key) {
				delete(f.entries, each.place)
			}
		}
		f.voidWhere(namespace, matches)
		f.addHoldOff(wait, func(at place, _ []string) bool {
			return at.namespace == namespace && matches(at.key)
		})
		f.announce(namespace, &larderpb.WatchResponse{
			Event: &larderpb.WatchResponse_PatternInvalidated{
				PatternInvalidated: &larderpb.PatternInvalidated{Namespace: namespace, Glob: glob},
			},
		})
		return targetResult(false, false), nil
	case *larderpb.Target_Key:
		removed, err := f.remove(ctx, &larderpb.DeleteRequest{
			Namespace: one.Key.Namespace, Key: one.Key.Key, Params: one.Key.Params,
		})
		if err != nil {
			return nil, err
		}
		key := placeOf(one.Key, schemaOf(ctx))
		f.addHoldOff(wait, func(at place, _ []string) bool { return at == key })
		return targetResult(removed.Existed, false), nil
	}
	return nil, invalid("target", "must be set")
}

// InvalidateNamespace is the call of the service.
func (s *service) InvalidateNamespace(
	_ context.Context, request *larderpb.InvalidateNamespaceRequest,
) (*larderpb.InvalidateNamespaceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkNamespace(request.Namespace, ""); err != nil {
		return nil, err
	}
	if s.degraded {
		return nil, storeUnavailable()
	}
	s.invalidateNamespace(request.Namespace)
	return &larderpb.InvalidateNamespaceResponse{
		Durability: larderpb.Durability_DURABILITY_APPLIED,
	}, nil
}

func (f *Fake) invalidateNamespace(namespace string) {
	for _, each := range f.of(namespace) {
		delete(f.entries, each.place)
	}
	f.voidWhere(namespace, func(string) bool { return true })
	f.count(namespace).Invalidations++
	f.announce(namespace, &larderpb.WatchResponse{
		Event: &larderpb.WatchResponse_NamespaceInvalidated{
			NamespaceInvalidated: &larderpb.NamespaceInvalidated{Namespace: namespace},
		},
	})
}

func (f *Fake) list(namespace, glob string) ([]*larderpb.ListedKey, error) {
	if err := checkNamespace(namespace, ""); err != nil {
		return nil, err
	}
	matches := func(string) bool { return true }
	if glob != "" {
		var err error
		if matches, err = checkGlob(glob, "glob"); err != nil {
			return nil, err
		}
	}
	if f.degraded {
		return nil, storeUnavailable()
	}
	var keys []*larderpb.ListedKey
	for _, each := range f.of(namespace) {
		if matches(each.key) {
			// The fake has no digests: a text takes their place.
			digest := each.params + each.schema
			keys = append(keys, &larderpb.ListedKey{Key: each.key, ParamsDigest: digest})
		}
	}
	return keys, nil
}

// ListKeys is the call of the service. The token is the number of keys before the page.
func (s *service) ListKeys(
	_ context.Context, request *larderpb.ListKeysRequest,
) (*larderpb.ListKeysResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.list(request.Namespace, request.Glob)
	if err != nil {
		return nil, err
	}
	size := 100
	if request.PageSize > 0 {
		size = int(min(1000, request.PageSize))
	}
	from := 0
	if request.PageToken != "" {
		if from, err = strconv.Atoi(request.PageToken); err != nil || from < 0 {
			return nil, invalid("page_token", "is not one of this server")
		}
	}
	from = min(from, len(all))
	end := min(from+size, len(all))
	answer := &larderpb.ListKeysResponse{Keys: all[from:end]}
	if end < len(all) {
		answer.NextPageToken = strconv.Itoa(end)
	}
	return answer, nil
}

// CountKeys is the call of the service.
func (s *service) CountKeys(
	_ context.Context, request *larderpb.CountKeysRequest,
) (*larderpb.CountKeysResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.list(request.Namespace, request.Glob)
	return &larderpb.CountKeysResponse{Count: uint64(len(all))}, err
}

// count are the counters of a namespace.
func (f *Fake) count(namespace string) *larderpb.Counters {
	counted := f.counted[namespace]
	if counted == nil {
		counted = &larderpb.Counters{}
		f.counted[namespace] = counted
	}
	return counted
}

// Stats is the call of the service.
func (s *service) Stats(
	_ context.Context, request *larderpb.StatsRequest,
) (*larderpb.StatsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := &larderpb.StatsResponse{
		Store:    &larderpb.StoreStats{Kind: "memory", Reachable: !s.degraded},
		Degraded: s.degraded, CollectedAt: timestamppb.Now(),
	}
	names := request.Namespaces
	if len(names) == 0 {
		for name := range s.counted {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	for _, name := range names {
		if counted := s.counted[name]; counted != nil {
			answer.Namespaces = append(answer.Namespaces, &larderpb.NamespaceStats{
				Namespace: name, Counted: &larderpb.WindowStats{Total: clone(counted)},
			})
		}
	}
	return answer, nil
}
