package larder

import (
	"sync"
	"time"
)

// NearCache keeps values in this process, coherent by Watch: without a feed of changes it is empty
// and unused. It is an option of namespaces. Keep the handle: each has a near cache of its own.
type NearCache struct {
	// MaxBytes of values and keys: 64 MiB if it is 0.
	MaxBytes int
	// MaxEntries is 10,000 if it is 0.
	MaxEntries int
	// Shared: readers of a value share it and must not change it. Otherwise a value that can be
	// changed, such as one with a pointer, a slice or a map, is decoded for each read.
	Shared bool
}

const (
	defaultNearBytes   = 64 << 20
	defaultNearEntries = 10_000
	// nearEntryBytes is what an entry takes besides its key and its value.
	nearEntryBytes = 256
)

func (n *NearCache) check() error {
	if n.MaxBytes < 0 || n.MaxEntries < 0 {
		return wrong("NearCache", "MaxBytes and MaxEntries must not be negative")
	}
	if n.MaxBytes == 0 {
		n.MaxBytes = defaultNearBytes
	}
	if n.MaxEntries == 0 {
		n.MaxEntries = defaultNearEntries
	}
	return nil
}

// nearEntry is not changed once it is in a store, except for its place in the order of use.
type nearEntry struct {
	id entryID
	// encoded is for views that cannot share decoded, which is a pointer to the value.
	encoded   Encoded
	decoded   any
	codec     any
	version   string
	tags      []string
	writtenAt time.Time
	endsAt    time.Time
	bytes     int

	newer, older *nearEntry
}

// pendingRead is a read that is under way; a change that may concern it makes it dirty.
type pendingRead struct {
	id        entryID
	startedAt time.Time
	epoch     uint64
	dirty     bool
}

// nearStore is the near cache of a handle. The least recently used entries go first.
type nearStore struct {
	feed    *feed
	options NearCache

	mu      sync.Mutex
	entries map[entryID]*nearEntry
	// byKey has the entries with params.
	byKey   map[string]map[entryID]*nearEntry
	pending map[*pendingRead]struct{}
	bytes   int
	// newest and oldest are the ends of the order of use.
	newest, oldest *nearEntry
}

func newNearStore(from *feed, options NearCache) *nearStore {
	store := &nearStore{
		feed: from, options: options, entries: map[entryID]*nearEntry{},
		byKey: map[string]map[entryID]*nearEntry{}, pending: map[*pendingRead]struct{}{},
	}
	from.listen(store)
	return store
}

// get is an entry that is certain to be that of the store, and the time of that.
func (s *nearStore) get(id entryID) (*nearEntry, time.Time) {
	now := time.Now()
	if !s.feed.live(now) {
		return nil, now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.entries[id]
	if entry == nil {
		return nil, now
	}
	if !now.Before(entry.endsAt) {
		s.remove(entry)
		return nil, now
	}
	if s.newest != entry {
		s.unlink(entry)
		s.link(entry)
	}
	return entry, now
}

// begin is for a read whose result may be kept. Nil: there is no feed.
func (s *nearStore) begin(id entryID) *pendingRead {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Before live: a stream that changes after that is noticed.
	epoch := s.feed.epoch.Load()
	now := time.Now()
	if !s.feed.ready.Load() {
		s.feed.start()
		return nil
	}
	read := &pendingRead{id: id, startedAt: now, epoch: epoch}
	s.pending[read] = struct{}{}
	return read
}

// drop ends a read whose result is not kept.
func (s *nearStore) drop(read *pendingRead) {
	if s == nil || read == nil {
		return
	}
	s.mu.Lock()
	delete(s.pending, read)
	s.mu.Unlock()
}

// keep ends a read, and keeps its entry if nothing has changed meanwhile.
func (s *nearStore) keep(read *pendingRead, entry *nearEntry) {
	live := s.feed.live(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, read)
	if !live || read.dirty || read.epoch != s.feed.epoch.Load() ||
		entry.bytes > s.options.MaxBytes {
		return
	}
	if previous := s.entries[entry.id]; previous != nil {
		s.remove(previous)
	}
	s.entries[entry.id] = entry
	s.bytes += entry.bytes
	s.link(entry)
	if entry.id.params != "" {
		siblings := s.byKey[entry.id.key]
		if siblings == nil {
			siblings = map[entryID]*nearEntry{}
			s.byKey[entry.id.key] = siblings
		}
		siblings[entry.id] = entry
	}
	for s.bytes > s.options.MaxBytes || len(s.entries) > s.options.MaxEntries {
		s.remove(s.oldest)
	}
}

func (s *nearStore) link(entry *nearEntry) {
	entry.older, entry.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = entry
	} else {
		s.oldest = entry
	}
	s.newest = entry
}

func (s *nearStore) unlink(entry *nearEntry) {
	if entry.newer != nil {
		entry.newer.older = entry.older
	} else {
		s.newest = entry.older
	}
	if entry.older != nil {
		entry.older.newer = entry.newer
	} else {
		s.oldest = entry.newer
	}
}

func (s *nearStore) remove(entry *nearEntry) {
	delete(s.entries, entry.id)
	s.bytes -= entry.bytes
	s.unlink(entry)
	if siblings := s.byKey[entry.id.key]; siblings != nil {
		delete(siblings, entry.id)
		if len(siblings) == 0 {
			delete(s.byKey, entry.id.key)
		}
	}
}

// keyChanged forgets the entries with a key, with any params.
func (s *nearStore) keyChanged(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for read := range s.pending {
		read.dirty = read.dirty || read.id.key == key
	}
	if entry := s.entries[entryID{key: key}]; entry != nil {
		s.remove(entry)
	}
	for _, entry := range s.byKey[key] {
		s.remove(entry)
	}
}

// matching forgets the entries for which concerns is true.
func (s *nearStore) matching(concerns func(key string, tags []string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The tags of a value that is on its way are not there yet.
	for read := range s.pending {
		read.dirty = true
	}
	for _, entry := range s.entries {
		if concerns(entry.id.key, entry.tags) {
			s.remove(entry)
		}
	}
}

// clear forgets all entries.
func (s *nearStore) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for read := range s.pending {
		read.dirty = true
	}
	clear(s.entries)
	clear(s.byKey)
	s.bytes, s.newest, s.oldest = 0, nil, nil
}
