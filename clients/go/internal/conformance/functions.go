package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	larder "larder.test/clients/go"
)

// functions are those of the cases about the keys of calls, on one namespace.
type functions struct {
	on   *larder.Cache[any]
	keys map[string]*larder.CallKeys

	mu   sync.Mutex
	runs map[string]int64
}

var functionOptions = map[string]larder.CallKeyOptions{
	"f": {Name: "f", Args: []string{"a", "b", "c"}, Defaults: map[string]any{"b": int64(2)}},
	"v": {Name: "v", Args: []string{"value"}},
	"user": {
		Name: "user", Template: "user:{user_id}", Args: []string{"user_id", "page"},
		Defaults: map[string]any{"page": int64(1)},
	},
	"g":    {Name: "g", Args: []string{"a", "db"}, Ignore: []string{"db"}},
	"pair": {Name: "pair", Template: "{a}:{b}", Args: []string{"a", "b"}},
}

func newFunctions(on *larder.Cache[any]) *functions {
	made := &functions{on: on, keys: map[string]*larder.CallKeys{}, runs: map[string]int64{}}
	for name, options := range functionOptions {
		keys, err := larder.NewCallKeys(options)
		if err != nil {
			panic(err)
		}
		made.keys[name] = keys
	}
	return made
}

// call calls a function. Go has no arguments by name: they are put in their places.
func (f *functions) call(ctx context.Context, args Fields) (any, error) {
	name := args["function"].(string)
	options, known := functionOptions[name]
	if !known {
		return nil, fmt.Errorf("no function %s", name)
	}
	given := slices.Clone(args["positional"].([]any))
	named := args["named"].(Fields)
	for _, argument := range options.Args[len(given):] {
		value, ok := named[argument]
		if !ok {
			value = options.Defaults[argument]
		}
		given = append(given, value)
	}
	key, err := f.keys[name].Key(given...)
	if err != nil {
		return nil, err
	}
	load := func(context.Context) (any, error) {
		f.mu.Lock()
		f.runs[name]++
		f.mu.Unlock()
		if name != "f" {
			return nil, nil
		}
		return Fields{"a": given[0], "b": given[1], "c": given[2]}, nil
	}
	result, err := f.on.GetOrFetch(ctx, key.Key, load, key.Params, larder.TTL(time.Minute))
	f.mu.Lock()
	defer f.mu.Unlock()
	return Fields{"value": result.Value, "runs": f.runs[name]}, err
}
