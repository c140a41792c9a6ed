package lardertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"larder.test/clients/go/larderpb"
)

// Patch is the call of the service.
func (s *service) Patch(
	ctx context.Context, request *larderpb.PatchRequest,
) (*larderpb.PatchResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkKey(request, ""); err != nil {
		return nil, err
	}
	if request.Patch == nil {
		return nil, invalid("patch", "must be set")
	}
	if s.degraded {
		return nil, storeUnavailable()
	}
	at := placeOf(request, schemaOf(ctx))
	one := s.fresh(at)
	if one == nil || one.value == nil {
		return &larderpb.PatchResponse{Result: larderpb.PatchResult_PATCH_RESULT_MISSING}, nil
	}
	if request.IfVersion != nil && *request.IfVersion != one.version {
		result := larderpb.PatchResult_PATCH_RESULT_CONDITION_NOT_MET
		return &larderpb.PatchResponse{Result: result}, nil
	}
	kind, ok := one.value.Kind.(*larderpb.Value_Json)
	if !ok {
		return nil, failure(codes.FailedPrecondition, "NOT_JSON",
			"the value of the entry is not JSON", nil, 0)
	}
	text, err := patched(kind.Json, request)
	if err != nil {
		return nil, err
	}
	value := &larderpb.Value{Kind: &larderpb.Value_Json{Json: text}}
	if err := s.checkValue(value, request.Namespace); err != nil {
		return nil, err
	}
	var ttl time.Duration
	switch expiry := request.Expiry.(type) {
	case *larderpb.PatchRequest_Keep:
		ttl = one.freshUntil.Sub(s.now())
	case *larderpb.PatchRequest_Ttl:
		ttl = expiry.Ttl.AsDuration()
	}
	stored := s.put(at, value, ttl, one.tags)
	s.changed(at, superseded)
	return &larderpb.PatchResponse{
		Result: larderpb.PatchResult_PATCH_RESULT_APPLIED, Version: stored.version,
		Ttl: wire(stored.freshUntil.Sub(stored.writtenAt)),
	}, nil
}

// errNotApplicable is a patch that does not apply to a value.
var errNotApplicable = errors.New("path is invalid")

func parse(text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func patched(text string, request *larderpb.PatchRequest) (string, error) {
	var value, merge any
	if err := parse(text, &value); err != nil {
		return "", err
	}
	switch patch := request.Patch.(type) {
	case *larderpb.PatchRequest_MergePatch:
		if err := parse(patch.MergePatch, &merge); err != nil {
			return "", invalid("merge_patch", "%v", err)
		}
		value = mergePatch(value, merge)
	case *larderpb.PatchRequest_JsonPatch:
		var operations []operation
		if err := parse(patch.JsonPatch, &operations); err != nil {
			return "", invalid("json_patch", "%v", err)
		}
		for i, each := range operations {
			var err error
			if value, err = each.apply(value); err != nil {
				return "", failure(codes.FailedPrecondition, "PATCH_NOT_APPLICABLE",
					fmt.Sprintf("the patch does not apply: operation %d at %q: %v", i, each.Path,
						err), nil, 0)
			}
		}
	}
	made, err := json.Marshal(value)
	return string(made), err
}

// mergePatch is JSON Merge Patch (RFC 7396).
func mergePatch(target, patch any) any {
	fields, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	merged := map[string]any{}
	if old, ok := target.(map[string]any); ok {
		maps.Copy(merged, old)
	}
	for name, value := range fields {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = mergePatch(merged[name], value)
		}
	}
	return merged
}

// operation is one of JSON Patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

func (o operation) apply(root any) (any, error) {
	switch o.Op {
	case "add":
		return add(root, o.Path, o.Value)
	case "remove":
		root, _, err := remove(root, o.Path)
		return root, err
	case "replace":
		root, _, err := remove(root, o.Path)
		if err != nil {
			return nil, err
		}
		return add(root, o.Path, o.Value)
	case "move":
		root, value, err := remove(root, o.From)
		if err != nil {
			return nil, err
		}
		return add(root, o.Path, value)
	case "copy":
		value, err := find(root, steps(o.From))
		if err != nil {
			return nil, err
		}
		return add(root, o.Path, value)
	case "test":
		value, err := find(root, steps(o.Path))
		if err == nil && !reflect.DeepEqual(value, o.Value) {
			err = errors.New("value did not match")
		}
		return root, err
	}
	return nil, fmt.Errorf("unknown op %q", o.Op)
}

func steps(pointer string) []string {
	if pointer == "" {
		return nil
	}
	path := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, step := range path {
		path[i] = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
	}
	return path
}

func position(step string, last int) (int, error) {
	at, err := strconv.Atoi(step)
	if err != nil || at < 0 || at > last || step != strconv.Itoa(at) {
		return 0, errNotApplicable
	}
	return at, nil
}

func find(value any, path []string) (any, error) {
	for _, step := range path {
		switch container := value.(type) {
		case []any:
			at, err := position(step, len(container)-1)
			if err != nil {
				return nil, err
			}
			value = container[at]
		case map[string]any:
			member, ok := container[step]
			if !ok {
				return nil, errNotApplicable
			}
			value = member
		default:
			return nil, errNotApplicable
		}
	}
	return value, nil
}

// edit replaces the container of the last step of a path.
func edit(
	root any, path []string, change func(container any, step string) (any, error),
) (any, error) {
	if len(path) == 1 {
		return change(root, path[0])
	}
	inner, err := find(root, path[:1])
	if err != nil {
		return nil, err
	}
	if inner, err = edit(inner, path[1:], change); err != nil {
		return nil, err
	}
	switch container := root.(type) {
	case []any:
		at, err := position(path[0], len(container)-1)
		if err != nil {
			return nil, err
		}
		copied := slices.Clone(container)
		copied[at] = inner
		return copied, nil
	case map[string]any:
		copied := maps.Clone(container)
		copied[path[0]] = inner
		return copied, nil
	}
	return nil, errNotApplicable
}

func add(root any, pointer string, value any) (any, error) {
	path := steps(pointer)
	if len(path) == 0 {
		return value, nil
	}
	return edit(root, path, func(container any, step string) (any, error) {
		switch container := container.(type) {
		case []any:
			at := len(container)
			if step != "-" {
				var err error
				if at, err = position(step, len(container)); err != nil {
					return nil, err
				}
			}
			return slices.Insert(slices.Clone(container), at, value), nil
		case map[string]any:
			copied := maps.Clone(container)
			copied[step] = value
			return copied, nil
		}
		return nil, errNotApplicable
	})
}

func remove(root any, pointer string) (any, any, error) {
	path := steps(pointer)
	value, err := find(root, path)
	if err != nil || len(path) == 0 {
		return nil, value, err
	}
	root, err = edit(root, path, func(container any, step string) (any, error) {
		switch container := container.(type) {
		case []any:
			at, err := position(step, len(container)-1)
			if err != nil {
				return nil, err
			}
			return slices.Delete(slices.Clone(container), at, at+1), nil
		case map[string]any:
			copied := maps.Clone(container)
			delete(copied, step)
			return copied, nil
		}
		return nil, errNotApplicable
	})
	return root, value, err
}
