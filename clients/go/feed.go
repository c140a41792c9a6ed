package larder

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"larder.test/clients/go/internal/globs"
)

// effect is what a call removes or changes in a namespace.
type effect struct {
	keys  map[string]bool
	globs []string
	tags  []string
	all   bool
}

// feedPause is the time until a stream that the server has refused is opened again.
const feedPause = time.Minute

// feed is the changes of a namespace for its near caches, from Watch and from writes of this
// client.
type feed struct {
	scope *scope
	base  time.Time

	started atomic.Bool
	ready   atomic.Bool
	// startAt is when the stream may be opened, in nanoseconds since base, and pause the time until
	// then after the server has refused it. That is logged once: refused.
	startAt atomic.Int64
	pause   time.Duration
	refused atomic.Bool
	// epoch changes whenever the stream does.
	epoch atomic.Uint64
	// The last message: by the steady clock since base, and by the wall clock. In nanoseconds.
	steady, wall, silence atomic.Int64

	// lapsed: only a silence has ended the use, so that the same stream can go on.
	lapsed bool
	// states guards lapsed and the changes of ready.
	states sync.Mutex

	mu     sync.RWMutex
	stores []*nearStore
}

// store is the near cache with these options: handles of a namespace share it.
func (f *feed) store(options NearCache) *nearStore {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, each := range f.stores {
		if each.options == options {
			return each
		}
	}
	made := newNearStore(f, options)
	f.stores = append(f.stores, made)
	return made
}

func (f *feed) each(do func(*nearStore)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, store := range f.stores {
		do(store)
	}
}

// live reports whether all changes arrive.
func (f *feed) live(now time.Time) bool {
	if !f.ready.Load() {
		f.start()
		return false
	}
	// Either clock may have stood still while the process was frozen.
	steady := int64(now.Sub(f.base)) - f.steady.Load()
	wall := now.UnixNano() - f.wall.Load()
	if max(steady, wall) <= f.silence.Load() {
		return true
	}
	f.states.Lock()
	f.lapsed = f.lapsed || f.ready.Load()
	f.suspend()
	f.states.Unlock()
	f.each((*nearStore).clear)
	return false
}

func (f *feed) noteMessage() {
	now := time.Now()
	f.steady.Store(int64(now.Sub(f.base)))
	f.wall.Store(now.UnixNano())
}

// suspend ends the use. The lock of states is held.
func (f *feed) suspend() {
	f.ready.Store(false)
	f.epoch.Add(1)
}

// stop ends the use until the next Ready.
func (f *feed) stop() {
	f.states.Lock()
	defer f.states.Unlock()
	f.lapsed = false
	f.suspend()
}

// lose ends the use, and forgets all entries.
func (f *feed) lose() {
	f.stop()
	f.each((*nearStore).clear)
}

// resume begins the use: all changes arrive from now on.
func (f *feed) resume() {
	f.states.Lock()
	defer f.states.Unlock()
	f.lapsed = false
	f.epoch.Add(1)
	f.ready.Store(true)
}

// goOn is for a message of the stream that was silent for too long: none of its changes was missed.
func (f *feed) goOn() {
	f.states.Lock()
	lapsed := f.lapsed
	f.states.Unlock()
	if lapsed {
		f.resume()
	}
}

// start opens the stream at the first read: to make a handle does not connect.
func (f *feed) start() {
	if f.started.Load() || int64(time.Since(f.base)) < f.startAt.Load() ||
		!f.started.CompareAndSwap(false, true) {
		return
	}
	ctx, end, err := f.scope.core.running.begin(context.Background())
	if err != nil {
		return
	}
	go func() {
		defer end()
		err := f.scope.follow(ctx, true, f.take)
		f.lose()
		if err == nil || ctx.Err() != nil {
			return
		}
		if !f.refused.Swap(true) {
			f.scope.core.logger.Warn("larder: no near cache until the server permits its stream",
				"namespace", f.scope.namespace, "error", err)
		}
		f.startAt.Store(int64(time.Since(f.base) + f.pause))
		f.started.Store(false)
	}()
}

func (f *feed) take(signal watchSignal) bool {
	if f.ready.Load() {
		// After a silence that was too long, the entries from before it are not served.
		f.live(time.Now())
	}
	f.noteMessage()
	if signal.kind == signalAlive || signal.kind == signalChange {
		f.goOn()
	}
	switch signal.kind {
	case signalReady:
		if !signal.change.Resumed {
			f.each((*nearStore).clear)
		}
		f.silence.Store(int64(signal.silence))
		f.refused.Store(false)
		f.resume()
	case signalBroken:
		// The entries are valid again if the stream can be continued.
		f.stop()
	case signalChange:
		change := signal.change
		switch change.Kind {
		case ChangeReset:
			f.lose()
		case ChangeKeys:
			for _, key := range change.Keys {
				f.each(func(store *nearStore) { store.keyChanged(key.Key) })
			}
		case ChangeNamespace:
			f.apply(effect{all: true})
		case ChangeTags:
			f.apply(effect{tags: change.Tags})
		case ChangePattern:
			f.apply(effect{globs: []string{change.Glob}})
		}
	}
	return true
}

// apply forgets what an effect concerns.
func (f *feed) apply(e effect) {
	if e.all {
		f.each((*nearStore).clear)
		return
	}
	for key := range e.keys {
		f.each(func(store *nearStore) { store.keyChanged(key) })
	}
	if len(e.tags) > 0 {
		f.each(func(store *nearStore) {
			store.matching(func(_ string, tags []string) bool {
				return slices.ContainsFunc(tags, func(tag string) bool {
					return slices.Contains(e.tags, tag)
				})
			})
		})
	}
	for _, glob := range e.globs {
		matches, ok := globs.Matcher(glob)
		f.each(func(store *nearStore) {
			store.matching(func(key string, _ []string) bool { return !ok || matches(key) })
		})
	}
}

// feeds are those of a client: there are some only for namespaces with near caches.
type feeds struct {
	mu    sync.RWMutex
	feeds map[string]*feed
}

func (f *feeds) open(s *scope) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := f.feeds[s.namespace]
	if found == nil {
		found = &feed{scope: s, base: time.Now(), pause: feedPause}
		if f.feeds == nil {
			f.feeds = map[string]*feed{}
		}
		f.feeds[s.namespace] = found
	}
	return found
}

func (f *feeds) of(namespace string) *feed {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.feeds[namespace]
}

func (f *feeds) all() []*feed {
	f.mu.RLock()
	defer f.mu.RUnlock()
	list := make([]*feed, 0, len(f.feeds))
	for _, each := range f.feeds {
		list = append(list, each)
	}
	return list
}

func nothing() {}

// changing is for a call that changes an entry: what is near is forgotten before it and, by the
// function that is returned, after it, so that no read of this process returns or keeps what was
// there.
func (s *scope) changing(key string) func() {
	found := s.core.feeds.of(s.namespace)
	if found == nil {
		return nothing
	}
	forget := func() { found.each(func(store *nearStore) { store.keyChanged(key) }) }
	forget()
	return forget
}

func (s *scope) changingMany(all []wanted) func() {
	found := s.core.feeds.of(s.namespace)
	if found == nil {
		return nothing
	}
	forget := func() {
		found.each(func(store *nearStore) {
			for _, each := range all {
				store.keyChanged(each.at.key)
			}
		})
	}
	forget()
	return forget
}

// removing is as changing, for an invalidation: the computations of now are not joined any more.
func (s *scope) removing(e effect) func() {
	found := s.core.feeds.of(s.namespace)
	concerns := e.matcher()
	forget := func() {
		s.core.flights.forget(s.namespace, concerns)
		if found != nil {
			found.apply(e)
		}
	}
	forget()
	return forget
}

// removingAll is as removing, for a call that may concern all namespaces.
func (c *core) removingAll() func() {
	forget := func() {
		for _, each := range c.feeds.all() {
			each.apply(effect{all: true})
		}
		c.flights.forget("", func(string) bool { return true })
	}
	forget()
	return forget
}

// matcher reports which keys an effect may concern. A value that is being computed has no tags yet.
func (e effect) matcher() func(key string) bool {
	if e.all || len(e.tags) > 0 {
		return func(string) bool { return true }
	}
	var patterns []func(string) bool
	for _, glob := range e.globs {
		matches, ok := globs.Matcher(glob)
		if !ok {
			return func(string) bool { return true }
		}
		patterns = append(patterns, matches)
	}
	return func(key string) bool {
		return e.keys[key] || slices.ContainsFunc(patterns, func(matches func(string) bool) bool {
			return matches(key)
		})
	}
}
