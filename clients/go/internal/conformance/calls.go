package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sort"
	"time"

	larder "larder.test/clients/go"
)

// allOptions are options of the calls of a case, each as all kinds that it has.
type allOptions []any

func pick[O any](options allOptions) []O {
	var picked []O
	for _, option := range options {
		if fitting, ok := option.(O); ok {
			picked = append(picked, fitting)
		}
	}
	return picked
}

// optionsOf are the options that the arguments of a step name.
func optionsOf(args Fields) (options allOptions, err error) {
	add := func(option any) { options = append(options, option) }
	for name, value := range args {
		switch name {
		case "params":
			params := larder.Params{}
			for name, text := range value.(Fields) {
				params[name] = text.(string)
			}
			add(params)
		case "ttl":
			err = timeOf(args, name, func(d time.Duration) { add(larder.TTL(d)) })
		case "touch":
			err = timeOf(args, name, func(d time.Duration) { add(larder.Sliding(d)) })
		case "max_stale":
			err = timeOf(args, name, func(d time.Duration) { add(larder.MaxStale(d)) })
		case "timeout":
			err = timeOf(args, name, func(d time.Duration) { add(larder.Wait(d)) })
		case "hold_off":
			err = timeOf(args, name, func(d time.Duration) { add(larder.HoldOff(d)) })
		case "tags":
			add(larder.Tags(texts(value.([]any))...))
		case "if_version":
			add(larder.IfVersion(value.(string)))
		case "glob":
			add(larder.Glob(value.(string)))
		case "page_size":
			add(larder.PageSize(value.(int64)))
		case "initial":
			add(larder.Initial(value.(int64)))
		}
		if value == true {
			switch name {
			case "if_absent":
				add(larder.IfAbsent())
			case "if_present":
				add(larder.IfPresent())
				add(larder.IfExists())
			case "consistent":
				add(larder.Consistent())
			case "refresh":
				add(larder.Refresh())
			case "keep_ttl":
				add(larder.KeepTTL())
			case "keys":
				add(larder.WithKeys())
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return options, nil
}

type call func(
	ctx context.Context, on *larder.Cache[any], args Fields, options allOptions,
) (any, error)

func keyOf(args Fields) string {
	key, ok := args["key"].(string)
	if !ok {
		panic(fmt.Sprintf("the key is a %T", args["key"]))
	}
	return key
}

func keysOf(args Fields, name string) []string {
	list, _ := args[name].([]any)
	return texts(list)
}

// calls are the operations of the cases.
var calls = map[string]call{
	"get": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		result, err := on.Get(ctx, keyOf(args), pick[larder.GetOption](o)...)
		return resultAsData(result), err
	},
	"get_and_change": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		result, err := on.Get(ctx, keyOf(args), pick[larder.GetOption](o)...)
		if fields, ok := result.Value.(Fields); ok {
			path := args["path"].(string)
			fields[path].([]any)[0] = args["value"]
			fields[path] = append(fields[path].([]any), args["value"])
		}
		return resultAsData(result), err
	},
	"contains": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		found, err := on.Has(ctx, keyOf(args), pick[larder.GetOption](o)...)
		return Fields{"value": found}, err
	},
	"set": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		if _, ok := args["key"].(string); !ok {
			return nil, errors.New("key is no string: it cannot be compiled")
		}
		write, err := on.Set(ctx, keyOf(args), args["value"], pick[larder.SetOption](o)...)
		return writeAsData(write), err
	},
	"delete": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		if args["return_value"] != true {
			deletion, err := on.Delete(ctx, keyOf(args), pick[larder.DeleteOption](o)...)
			return deletionAsData(deletion), err
		}
		deletion, removed, err := on.Take(ctx, keyOf(args), pick[larder.DeleteOption](o)...)
		data := deletionAsData(deletion)
		data["removed"] = resultAsData(removed)
		return data, err
	},
	"get_many": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		results, err := on.GetMany(ctx, keysOf(args, "keys"), pick[larder.GetManyOption](o)...)
		return byKey(results, resultAsData), err
	},
	"set_many": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		results, err := on.SetMany(
			ctx, args["items"].(Fields), pick[larder.SetManyOption](o)...,
		)
		return byKey(results, writeAsData), err
	},
	"delete_many": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		results, err := on.DeleteMany(
			ctx, keysOf(args, "keys"), pick[larder.DeleteManyOption](o)...,
		)
		return byKey(results, deletionAsData), err
	},
	"touch": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		ttl, _ := parseDuration(args["ttl"])
		touched, err := on.Touch(ctx, keyOf(args), ttl, pick[larder.TouchOption](o)...)
		return Fields{
			"found": touched.Found, "ttl": touched.TTL, "degraded": touched.Degraded,
			"error": errorAsData(touched.Err),
		}, err
	},
	"increment": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		delta, given := args["delta"].(int64)
		if !given {
			delta = 1
		}
		sum, err := on.Increment(ctx, keyOf(args), delta, pick[larder.IncrementOption](o)...)
		data := Fields{"version": sum.Version, "ttl_remaining": sum.TTLRemaining}
		if !sum.Missing {
			data["value"] = big.NewInt(sum.Value)
		}
		return data, err
	},
	"patch": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		var patched larder.Patched
		var err error
		if merge, ok := args["merge"]; ok {
			patched, err = on.MergePatch(ctx, keyOf(args), merge, pick[larder.PatchOption](o)...)
		} else {
			var operations []larder.PatchOperation
			for _, each := range args["json_patch"].([]any) {
				operations = append(operations, each.(Fields))
			}
			patched, err = on.JSONPatch(
				ctx, keyOf(args), operations, pick[larder.PatchOption](o)...,
			)
		}
		return Fields{
			"applied": patched.Applied, "missing": patched.Missing, "version": patched.Version,
			"ttl": patched.TTL,
		}, err
	},
	"get_or_fetch": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		var loader larder.LoaderOf[any]
		if counted, ok := args["loader"].(*countedLoader); ok {
			loader = counted.one
		}
		result, err := on.GetOrFetchLoaded(
			ctx, keyOf(args), loader, pick[larder.FetchOption](o)...,
		)
		return resultAsData(result), err
	},
	"get_or_fetch_many": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		var loader larder.ManyLoader[any]
		if counted, ok := args["loader"].(*countedLoader); ok {
			loader = counted.many
		}
		results, err := on.GetOrFetchMany(
			ctx, keysOf(args, "keys"), loader, pick[larder.FetchManyOption](o)...,
		)
		return byKey(results, resultAsData), err
	},
	"invalidate": func(
		ctx context.Context, on *larder.Cache[any], args Fields, o allOptions,
	) (any, error) {
		targets := larder.Targets{
			Tags: keysOf(args, "tags"), Globs: keysOf(args, "globs"), Keys: keysOf(args, "keys"),
		}
		done, err := on.Invalidate(ctx, targets, pick[larder.InvalidateOption](o)...)
		return Fields{"queued": done.Queued}, err
	},
	"invalidate_namespace": func(
		ctx context.Context, on *larder.Cache[any], _ Fields, _ allOptions,
	) (any, error) {
		done, err := on.InvalidateNamespace(ctx)
		return Fields{"queued": done.Queued}, err
	},
	"publish_event": func(
		ctx context.Context, on *larder.Cache[any], args Fields, _ allOptions,
	) (any, error) {
		attributes := map[string]string{}
		for name, value := range args["attributes"].(Fields) {
			attributes[name] = value.(string)
		}
		published, err := on.PublishEvent(ctx, args["name"].(string), attributes)
		return Fields{"targets": published.Targets}, err
	},
	"list_keys": func(
		ctx context.Context, on *larder.Cache[any], _ Fields, o allOptions,
	) (any, error) {
		seen := map[string]bool{}
		for key, err := range on.ListKeys(ctx, pick[larder.ListOption](o)...) {
			if err != nil {
				return nil, err
			}
			seen[key.Key] = true
		}
		sorted := make([]string, 0, len(seen))
		for key := range seen {
			sorted = append(sorted, key)
		}
		sort.Strings(sorted)
		return Fields{"sorted": list(sorted)}, nil
	},
	"count_keys": func(
		ctx context.Context, on *larder.Cache[any], _ Fields, o allOptions,
	) (any, error) {
		count, err := on.CountKeys(ctx, pick[larder.ListOption](o)...)
		return Fields{"value": int64(count)}, err
	},
	"watch": func(
		ctx context.Context, on *larder.Cache[any], _ Fields, o allOptions,
	) (any, error) {
		for _, err := range on.Watch(ctx, pick[larder.WatchOption](o)...) {
			return Fields{}, err
		}
		return Fields{}, nil
	},
	"stats": func(
		ctx context.Context, on *larder.Cache[any], _ Fields, _ allOptions,
	) (any, error) {
		_, err := on.Stats(ctx)
		return Fields{}, err
	},
}
