package larder

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/metadata"

	"larder.test/clients/go/larderpb"
)

// ChangeKind is the kind of a [Change].
type ChangeKind uint8

// The kinds of changes.
const (
	// ChangeReady: all changes arrive from now on.
	ChangeReady ChangeKind = iota + 1
	// ChangeNamespace: all entries are invalid.
	ChangeNamespace
	// ChangeTags: the entries with any of the tags are invalid.
	ChangeTags
	// ChangePattern: the entries whose key matches the glob are invalid.
	ChangePattern
	// ChangeKeys: entries were written or removed. Only with [WithKeys].
	ChangeKeys
	// ChangeReset: changes may be missing until the next ChangeReady: what is derived from entries
	// is invalid.
	ChangeReset
)

// String returns the name of the kind, such as `ready`.
func (k ChangeKind) String() string {
	return [...]string{"", "ready", "namespace", "tags", "pattern", "keys", "reset"}[k]
}

// Change is a change in a namespace.
type Change struct {
	Kind ChangeKind
	// Resumed, of ChangeReady: none was missed since the last event.
	Resumed bool
	Tags    []string
	Glob    string
	Keys    []ListedKey
	// Cause, of ChangeReset, is such as `STORE_FLUSHED`. `DISCONNECTED`: the stream broke and could
	// not be continued.
	Cause string
}

// WatchOption is an option of Watch.
type WatchOption interface{ forWatch(*bool) }

type withKeys struct{}

func (withKeys) forWatch(keys *bool) { *keys = true }

// WithKeys also delivers the keys of entries that are written or removed.
func WithKeys() WatchOption { return withKeys{} }

type signalKind uint8

const (
	// signalReady is a change with the silence after which the stream counts as dead.
	signalReady signalKind = iota
	signalChange
	// signalAlive is a message without a change.
	signalAlive
	// signalBroken: the stream is broken, and may be continued.
	signalBroken
)

// watchSignal is what a stream delivers.
type watchSignal struct {
	kind    signalKind
	change  Change
	silence time.Duration
}

const (
	firstWatchBackoff   = 100 * time.Millisecond
	longestWatchBackoff = 3 * time.Second
	// readyTime is how long the first message may take.
	readyTime    = 5 * time.Second
	disconnected = "DISCONNECTED"
)

var errSilent = errors.New("larder: the stream is silent")

// watchState is that of a stream over its connections.
type watchState struct {
	token []byte
	// silence is the time without a message after which the stream counts as dead.
	silence time.Duration
	backoff time.Duration
}

func (w *watchState) read(message *larderpb.WatchResponse) watchSignal {
	switch event := message.Event.(type) {
	case *larderpb.WatchResponse_Ready:
		w.token = event.Ready.ResumeToken
		w.silence = asDuration(event.Ready.Heartbeat) + asDuration(event.Ready.MaxDelay)
		if event.Ready.Heartbeat == nil {
			w.silence += readyTime
		}
		w.backoff = firstWatchBackoff
		change := Change{Kind: ChangeReady, Resumed: event.Ready.Resumed}
		return watchSignal{kind: signalReady, change: change, silence: w.silence}
	case *larderpb.WatchResponse_Heartbeat:
		w.token = event.Heartbeat.ResumeToken
		return watchSignal{kind: signalAlive}
	case *larderpb.WatchResponse_NamespaceInvalidated:
		return changed(Change{Kind: ChangeNamespace})
	case *larderpb.WatchResponse_TagsInvalidated:
		return changed(Change{Kind: ChangeTags, Tags: event.TagsInvalidated.Tags})
	case *larderpb.WatchResponse_PatternInvalidated:
		return changed(Change{Kind: ChangePattern, Glob: event.PatternInvalidated.Glob})
	case *larderpb.WatchResponse_KeysChanged:
		keys := make([]ListedKey, len(event.KeysChanged.Keys))
		for i, key := range event.KeysChanged.Keys {
			keys[i] = ListedKey{Key: key.Key, ParamsDigest: key.ParamsDigest}
		}
		return changed(Change{Kind: ChangeKeys, Keys: keys})
	case *larderpb.WatchResponse_Reset_:
		return changed(Change{Kind: ChangeReset, Cause: resetCause(event.Reset_.Reason)})
	}
	// An event of a later release: what it invalidates is not clear.
	return changed(Change{Kind: ChangeReset, Cause: "UNKNOWN"})
}

func changed(change Change) watchSignal { return watchSignal{kind: signalChange, change: change} }

func resetCause(reason larderpb.ResetReason) string {
	switch reason {
	case larderpb.ResetReason_RESET_REASON_FEED_LOST:
		return "FEED_LOST"
	case larderpb.ResetReason_RESET_REASON_STORE_UNAVAILABLE:
		return "STORE_UNAVAILABLE"
	case larderpb.ResetReason_RESET_REASON_STORE_FLUSHED:
		return "STORE_FLUSHED"
	case larderpb.ResetReason_RESET_REASON_SLOW_READER:
		return "SLOW_READER"
	case larderpb.ResetReason_RESET_REASON_NOT_RESUMABLE:
		return "NOT_RESUMABLE"
	case larderpb.ResetReason_RESET_REASON_SHUTTING_DOWN:
		return "SHUTTING_DOWN"
	}
	return "UNKNOWN"
}

// follow delivers the signals of the namespace, over as many connections as it takes, until deliver
// returns false, the context ends, or there is a mistake.
func (s *scope) follow(ctx context.Context, keys bool, deliver func(watchSignal) bool) error {
	state := &watchState{silence: readyTime, backoff: firstWatchBackoff}
	for {
		stopped, err := s.stream(ctx, keys, state, deliver)
		switch {
		case ctx.Err() != nil:
			return ended(ctx)
		case stopped:
			return nil
		case err != nil && !s.mayContinue(err):
			return err
		}
		if !deliver(watchSignal{kind: signalBroken}) {
			return nil
		}
		wait := time.Duration(float64(state.backoff) * (0.5 + 0.5*rand.Float64()))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		state.backoff = min(longestWatchBackoff, 2*state.backoff)
	}
}

func (s *scope) mayContinue(err error) bool {
	if isOutage(err) || errors.Is(err, errSilent) {
		return true
	}
	return errors.Is(err, ErrUnauthenticated) && s.core.caller.connections.authorization.renews()
}

// changeStream is one stream of changes.
type changeStream struct {
	trailing
	request *larderpb.WatchRequest
	// silent ends the stream.
	silent  *time.Timer
	state   *watchState
	deliver func(watchSignal) bool
	stopped bool
	replace func(*link)
}

// send reads the stream to its end.
func (s *changeStream) send(ctx context.Context, used *link) error {
	stream, err := used.stub.Watch(ctx, s.request, s.kept()...)
	for err == nil {
		var message *larderpb.WatchResponse
		if message, err = stream.Recv(); err != nil {
			break
		}
		// While the reader is busy the stream is not expected to deliver.
		s.silent.Stop()
		used.answeredNow()
		if !s.deliver(s.state.read(message)) {
			s.stopped = true
			return nil
		}
		s.silent.Reset(s.state.silence)
	}
	if context.Cause(ctx) == errSilent {
		// It would take the time of five more streams until it counts as dead.
		s.replace(used)
	}
	return err
}

// stream reads one stream to its end.
func (s *scope) stream(
	parent context.Context, keys bool, state *watchState, deliver func(watchSignal) bool,
) (stopped bool, err error) {
	connections := s.core.caller.connections
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	silent := time.AfterFunc(readyTime, func() { cancel(errSilent) })
	defer silent.Stop()
	changes := &changeStream{
		request: &larderpb.WatchRequest{
			Namespaces: []string{s.namespace}, Keys: keys, ResumeToken: state.token,
		},
		silent: silent, state: state, deliver: deliver, replace: connections.replace,
	}
	outgoing := metadata.NewOutgoingContext(ctx, connections.base)
	err = connections.attempt(outgoing, 0, changes)
	return changes.stopped, err
}

// Watch delivers the changes of the namespace as long as the loop runs: invalidations and, with
// [WithKeys], all writes. Connections that break are made again; what was missed meanwhile comes
// first, or else ChangeReset. The first change is ChangeReady. It ends with an error, which is the
// last element: that of ctx, [ErrClosed] after Close, or a mistake.
func (n *Namespace) Watch(ctx context.Context, options ...WatchOption) iter.Seq2[Change, error] {
	keys := false
	for _, option := range options {
		option.forWatch(&keys)
	}
	return func(yield func(Change, error) bool) {
		if err := n.core.caller.checkOpen(); err != nil {
			yield(Change{}, err)
			return
		}
		ctx, end, err := n.core.running.begin(ctx)
		if err != nil {
			yield(Change{}, err)
			return
		}
		defer end()
		signals, failed := make(chan watchSignal), make(chan error, 1)
		go func() {
			failed <- n.follow(ctx, keys, func(signal watchSignal) bool {
				select {
				case signals <- signal:
					return true
				case <-ctx.Done():
					return false
				}
			})
		}()
		watcher := watcher{yield: yield}
		watcher.run(ctx, signals, failed)
	}
}

// watcher turns the signals of a stream into changes.
type watcher struct {
	yield func(Change, error) bool
	// valid: what the reader has derived from entries is valid.
	valid   bool
	silence time.Duration
	lastAt  time.Time
}

func (w *watcher) run(ctx context.Context, signals <-chan watchSignal, failed <-chan error) {
	// A stream that cannot be continued in time is a reset, like one that is silent.
	late := time.NewTimer(readyTime)
	late.Stop()
	defer late.Stop()
	for {
		select {
		case signal := <-signals:
			if signal.kind == signalBroken {
				if w.valid {
					late.Reset(time.Until(w.lastAt.Add(w.silence)))
				}
				continue
			}
			w.lastAt = time.Now()
			if signal.kind == signalReady {
				late.Stop()
				w.silence = signal.silence
			}
			if signal.kind != signalAlive && !w.deliver(signal.change) {
				return
			}
		case <-late.C:
			if w.valid && !w.deliver(Change{Kind: ChangeReset, Cause: disconnected}) {
				return
			}
		case err := <-failed:
			if err == nil {
				err = ended(ctx)
			}
			w.yield(Change{}, err)
			return
		}
	}
}

func (w *watcher) deliver(change Change) bool {
	if change.Kind == ChangeReady && !change.Resumed && w.valid {
		w.valid = false
		if !w.yield(Change{Kind: ChangeReset, Cause: disconnected}, nil) {
			return false
		}
	}
	w.valid = change.Kind != ChangeReset
	return w.yield(change, nil)
}
