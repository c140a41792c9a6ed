package conformance

import (
	"context"
	"sync"

	larder "larder.test/clients/go"
)

// watching is an iterator of changes, read beside the steps of a case.
type watching struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	events []any
}

func watch(namespace *larder.Namespace, options []larder.WatchOption) *watching {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for change, err := range namespace.Watch(ctx, options...) {
			if err != nil {
				return
			}
			w.add(change)
		}
	}()
	return w
}

func (w *watching) add(change larder.Change) {
	event := Fields{"event": change.Kind.String(), "glob": change.Glob, "cause": change.Cause}
	event["tags"] = list(change.Tags)
	keys := make([]any, len(change.Keys))
	for i, key := range change.Keys {
		keys[i] = key.Key
	}
	event["keys"] = keys
	w.mu.Lock()
	w.events = append(w.events, event)
	w.mu.Unlock()
}

func (w *watching) state() (events []any, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.done:
		ended = true
	default:
	}
	return append([]any{}, w.events...), ended
}

// end ends it, if the close of the client has not.
func (w *watching) end() {
	w.cancel()
	<-w.done
}

func list(texts []string) []any {
	made := make([]any, len(texts))
	for i, text := range texts {
		made[i] = text
	}
	return made
}
