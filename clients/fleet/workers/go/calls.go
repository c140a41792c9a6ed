package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	larder "larder.test/clients/go"
)

const namespace = "polyglot"

// call is a call of a function, with arguments by position and by name.
type call struct {
	Function   string
	Positional []json.RawMessage
	Named      map[string]json.RawMessage
}

// functions are those that all workers have.
var functions = map[string]larder.CallKeyOptions{
	"report": {
		Name: "report", Args: []string{"year", "region", "filters"},
		Defaults: map[string]any{"region": "eu", "filters": nil},
	},
	"user": {
		Template: "user:{user_id}", Args: []string{"user_id", "page"},
		Defaults: map[string]any{"page": 1},
	},
	"pair": {Template: "{a}:{b}", Args: []string{"a", "b"}},
}

// key is the entry of the call. Go has no arguments by name: they are put in their places, with the
// defaults of those before them.
func (c call) key() (larder.CallKey, error) {
	options, known := functions[c.Function]
	if !known {
		return larder.CallKey{}, fmt.Errorf("there is no function %q", c.Function)
	}
	keys, err := larder.NewCallKeys(options)
	if err != nil {
		return larder.CallKey{}, err
	}
	var args []any
	for i, name := range options.Args {
		raw, named := c.Named[name]
		if i < len(c.Positional) {
			raw = c.Positional[i]
		} else if !named {
			if c.isLast(options.Args[i:]) {
				break
			}
			args = append(args, options.Defaults[name])
			continue
		}
		value, err := plain(raw)
		if err != nil {
			return larder.CallKey{}, err
		}
		args = append(args, value)
	}
	return keys.Key(args...)
}

// isLast reports whether none of these arguments is given by name.
func (c call) isLast(names []string) bool {
	for _, name := range names {
		if _, given := c.Named[name]; given {
			return false
		}
	}
	return true
}

// plain is a value of the types that programs use: int64 and float64, rather than one for all.
func plain(raw json.RawMessage) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return numbers(value)
}

func numbers(value any) (made any, err error) {
	switch value := value.(type) {
	case json.Number:
		if strings.ContainsAny(value.String(), ".eE") {
			return strconv.ParseFloat(value.String(), 64)
		}
		return strconv.ParseInt(value.String(), 10, 64)
	case []any:
		for i := range value {
			if value[i], err = numbers(value[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range value {
			if value[name], err = numbers(value[name]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

func keysOf(calls []call) (any, error) {
	found := []map[string]any{}
	for _, each := range calls {
		key, err := each.key()
		if err != nil {
			return nil, err
		}
		found = append(found, map[string]any{"key": key.Key, "params": key.Params})
	}
	return found, nil
}

// write stores values as those of calls.
func (w *worker) write(calls []call, values []json.RawMessage) (any, error) {
	stored := []bool{}
	for i, each := range calls {
		key, err := each.key()
		if err != nil {
			return nil, err
		}
		value, err := plain(values[i])
		if err != nil {
			return nil, err
		}
		written, err := w.entries.Set(context.Background(), key.Key, value, key.Params)
		if err != nil {
			return nil, err
		}
		stored = append(stored, written.Stored)
	}
	return stored, nil
}

// read is the values of calls.
func (w *worker) read(calls []call) (any, error) {
	found := []map[string]any{}
	for _, each := range calls {
		key, err := each.key()
		if err != nil {
			return nil, err
		}
		read, err := w.entries.Get(context.Background(), key.Key, key.Params)
		if err != nil {
			return nil, err
		}
		facts := map[string]any{"outcome": read.Outcome.String(), "value": read.Value}
		if read.Err != nil {
			facts["error"] = read.Err.Error()
		}
		found = append(found, facts)
	}
	return found, nil
}
