package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	larder "larder.test/clients/go"
)

// limit is how long the near cache has to keep a value and to see its change.
const limit = 20 * time.Second

// stampede is callers that need one key at once.
func (w *worker) stampede(c command) (any, error) {
	var loads atomic.Int32
	load := func(context.Context) (any, error) {
		if loads.Add(1) == 1 && c.Lead {
			answer("loading")
		}
		time.Sleep(seconds(c.Seconds))
		return c.Key + " by go", nil
	}
	results := make([]larder.Result[any], c.Callers)
	errs := make([]error, c.Callers)
	took := make([]float64, c.Callers)
	start := make(chan struct{})
	var callers sync.WaitGroup
	for i := range c.Callers {
		callers.Go(func() {
			<-start
			began := time.Now()
			results[i], errs[i] = w.entries.GetOrFetch(context.Background(), c.Key, load,
				larder.Wait(30*time.Second))
			took[i] = time.Since(began).Seconds()
		})
	}
	close(start)
	callers.Wait()
	slowest, right, values, wrong := 0.0, 0, map[any]bool{}, []string{}
	for i, result := range results {
		slowest = max(slowest, took[i])
		if errs[i] == nil && result.Err == nil && result.Found() && !result.Degraded {
			right++
			values[result.Value] = true
		} else if len(wrong) < 3 {
			wrong = append(wrong, fmt.Sprintf("%+v %v", result, errs[i]))
		}
	}
	distinct := []any{}
	for value := range values {
		distinct = append(distinct, value)
	}
	return map[string]any{
		"loads": loads.Load(), "answers": right, "values": distinct, "slowest": slowest,
		"wrong": wrong,
	}, nil
}

func now() float64 { return float64(time.Now().UnixMicro()) / 1e6 }

// change changes an entry, and reads it.
func (w *worker) change(c command) (any, error) {
	ctx := context.Background()
	var done bool
	switch c.Kind {
	case "set":
		written, err := w.near.Set(ctx, c.Key, c.Value, larder.Tags(c.Tag),
			larder.TTL(time.Minute))
		if err != nil {
			return nil, err
		}
		done = written.Stored
	case "delete":
		deletion, err := w.near.Delete(ctx, c.Key)
		if err != nil {
			return nil, err
		}
		done = deletion.Deleted
	default:
		invalidation, err := w.near.Invalidate(ctx, larder.Targets{Tags: []string{c.Tag}})
		if err != nil {
			return nil, err
		}
		done = !invalidation.Queued
	}
	at := now()
	read, err := w.near.Get(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	var value any
	if read.Found() {
		value = read.Value
	}
	return map[string]any{"done": done, "at": at, "found": read.Found(), "value": value}, nil
}

type followed struct {
	Kept       int      `json:"kept"`
	OutdatedAt float64  `json:"outdated_at"`
	Wrong      []string `json:"wrong"`
}

// follow reads by the near cache until it has seen the change.
func (w *worker) follow(c command) (any, error) {
	seen, others := followed{Wrong: []string{}}, 0
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		began := now()
		read, err := w.near.Get(context.Background(), c.Key)
		if err != nil {
			return nil, err
		}
		isNear := read.Tier == larder.TierClient
		switch {
		case read.Found() && read.Value == c.Old:
			others, seen.OutdatedAt = 0, began
			if isNear {
				seen.Kept++
				if seen.Kept == 1 {
					answer("following")
				}
			}
		case read.Found() && (c.New == nil || read.Value != *c.New):
			seen.Wrong = append(seen.Wrong, fmt.Sprintf("%+v", read))
			return seen, nil
		default:
			others++
			if others >= c.Gone && (c.New == nil || isNear) {
				return seen, nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	seen.Wrong = append(seen.Wrong,
		fmt.Sprintf("no end within %v: %d reads of the near cache", limit, seen.Kept))
	return seen, nil
}
