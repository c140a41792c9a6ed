package lardertest

import (
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"larder.test/clients/go/larderpb"
)

const (
	heartbeat = time.Second
	maxDelay  = time.Second
	// maxEvents is what a slow reader may have outstanding.
	maxEvents = 10_000
)

// watcher is a stream of Watch. Streams cannot be resumed: each begins with an empty cache.
type watcher struct {
	namespaces []string
	keys       bool
	events     chan *larderpb.WatchResponse
	// broken is closed when the stream breaks.
	broken chan struct{}
	// behind: events were dropped, so that a reset is due.
	behind bool
}

func ready() *larderpb.WatchResponse {
	return &larderpb.WatchResponse{Event: &larderpb.WatchResponse_Ready{Ready: &larderpb.Ready{
		MaxDelay: durationpb.New(maxDelay), Heartbeat: durationpb.New(heartbeat),
	}}}
}

func reset(reason larderpb.ResetReason) *larderpb.WatchResponse {
	return &larderpb.WatchResponse{
		Event: &larderpb.WatchResponse_Reset_{Reset_: &larderpb.Reset{Reason: reason}},
	}
}

// send queues events. Of a reader that is too slow, they are replaced by a reset.
func (w *watcher) send(events ...*larderpb.WatchResponse) {
	if w.behind {
		if len(w.events) > 0 {
			return
		}
		w.behind = false
		events = []*larderpb.WatchResponse{
			reset(larderpb.ResetReason_RESET_REASON_SLOW_READER), ready(),
		}
	}
	for _, event := range events {
		select {
		case w.events <- event:
		default:
			w.behind = true
		}
	}
}

// announce sends an event to the streams of a namespace.
func (f *Fake) announce(namespace string, event *larderpb.WatchResponse) {
	f.wake()
	_, ofKeys := event.Event.(*larderpb.WatchResponse_KeysChanged)
	for each := range f.watchers {
		if slices.Contains(each.namespaces, namespace) && (each.keys || !ofKeys) {
			each.send(event)
		}
	}
}

// changed is for an entry that was written or removed.
func (f *Fake) changed(at place, why lost) {
	f.void(at, why)
	f.announce(at.namespace, &larderpb.WatchResponse{
		Event: &larderpb.WatchResponse_KeysChanged{KeysChanged: &larderpb.KeysChanged{
			Namespace: at.namespace, Keys: []*larderpb.ChangedKey{{Key: at.key}},
		}},
	})
}

// BreakWatches ends the streams of Watch, as a network does.
func (f *Fake) BreakWatches() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for each := range f.watchers {
		close(each.broken)
		delete(f.watchers, each)
	}
}

// ResetWatches sends a reset on the streams of Watch.
func (f *Fake) ResetWatches() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resetWatches()
}

func (f *Fake) resetWatches() {
	for each := range f.watchers {
		each.send(reset(larderpb.ResetReason_RESET_REASON_STORE_FLUSHED), ready())
	}
}

// Watch is the call of the service.
func (s *service) Watch(
	request *larderpb.WatchRequest, stream larderpb.CacheService_WatchServer,
) error {
	if len(request.Namespaces) == 0 {
		return invalid("namespaces", "must not be empty")
	}
	opened := &watcher{
		namespaces: request.Namespaces, keys: request.Keys, broken: make(chan struct{}),
		events: make(chan *larderpb.WatchResponse, maxEvents),
	}
	s.mu.Lock()
	s.watchers[opened] = struct{}{}
	opened.send(ready())
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, opened)
		s.mu.Unlock()
	}()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		event := &larderpb.WatchResponse{
			Event: &larderpb.WatchResponse_Heartbeat{Heartbeat: &larderpb.Heartbeat{}},
		}
		select {
		case <-opened.broken:
			return failure(codes.Unavailable, "", "the stream is broken", nil, 0)
		case <-stream.Context().Done():
			return stream.Context().Err()
		case event = <-opened.events:
		case <-beat.C:
		}
		if err := stream.Send(event); err != nil {
			return err
		}
	}
}
