package conformance

import (
	"context"
	"errors"
	"sync"
	"time"

	larder "larder.test/clients/go"
)

const gateLimit = 20 * time.Second

// LoaderFailed is the failure of a loader on purpose.
type LoaderFailed struct{ message string }

func (l *LoaderFailed) Error() string { return l.message }

// gate holds loaders back until it is opened.
type gate struct {
	once   sync.Once
	opened chan struct{}
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// countedLoader is a loader of a case.
type countedLoader struct {
	spec Fields
	gate *gate

	mu    sync.Mutex
	begun int
	keys  []any
}

func (c *countedLoader) count() (begun int, keys []any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun, append([]any{}, c.keys...)
}

func (c *countedLoader) begin(keys []any) error {
	c.mu.Lock()
	c.begun++
	if keys != nil {
		c.keys = append(c.keys, keys)
	}
	c.mu.Unlock()
	time.Sleep(durationOr(c.spec["delay"], 0))
	if c.gate != nil {
		select {
		case <-c.gate.opened:
		case <-time.After(gateLimit):
			return errors.New("the gate was not opened")
		}
	}
	if message, fails := c.spec["fail"].(string); fails {
		return &LoaderFailed{message}
	}
	return nil
}

func (c *countedLoader) one(context.Context) (larder.Loaded[any], error) {
	if err := c.begin(nil); err != nil {
		return larder.Loaded[any]{}, err
	}
	var options []larder.LoadedOption
	if ttl, ok := parseDuration(c.spec["ttl"]); ok {
		options = append(options, larder.TTL(ttl))
	}
	if tags, ok := c.spec["tags"].([]any); ok {
		options = append(options, larder.Tags(texts(tags)...))
	}
	if store, ok := c.spec["store"].(bool); ok && !store {
		options = append(options, larder.NoStore())
	}
	return larder.NewLoaded(expand(c.spec["value"], nil), options...), nil
}

func (c *countedLoader) many(_ context.Context, keys []string) (map[string]any, error) {
	named := make([]any, len(keys))
	for i, key := range keys {
		named[i] = key
	}
	if err := c.begin(named); err != nil {
		return nil, err
	}
	values, found := c.spec["by_key"].(Fields), map[string]any{}
	for _, key := range keys {
		if value, ok := values[key]; ok {
			found[key] = value
		}
	}
	return found, nil
}

func texts(list []any) []string {
	made := make([]string, len(list))
	for i, item := range list {
		made[i] = item.(string)
	}
	return made
}
