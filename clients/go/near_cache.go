package larder

import (
	"slices"
	"sync"
	"time"
)

// NearCache keeps values in this process, coherent by Watch: without a feed of changes it is empty
// and unused. It is an option of namespaces. Handles of a namespace with the same options share
// one, which lives as long as the client.
type NearCache struct {
	// MaxBytes of values, keys and tags: 64 MiB if it is 0. A value that readers share counts as it
	// is sent and as it is in memory.
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
	// nearEntryBytes is what an entry takes besides its key, its tags and its value.
	nearEntryBytes = 256
	// tagBytes is what a tag takes besides its text.
	tagBytes = 16
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

	// next and previous are others of the key.
	next, previous *pendingRead
}

// nearStore is the near cache of a handle. The least recently used entries go first.
type nearStore struct {
	feed    *feed
	options NearCache

	mu sync.Mutex
	// plain has the entries without params, by key.
	plain map[string]*nearEntry
	// byKey has the entries with params, by key and then by params.
	byKey map[string]map[string]*nearEntry
	// count is the number of entries.
	count int
	// pending are reads by key: the first of each list.
	pending map[string]*pendingRead
	bytes   int
	// newest and oldest are the ends of the order of use.
	newest, oldest *nearEntry
}

func newNearStore(from *feed, options NearCache) *nearStore {
	store := &nearStore{
		feed: from, options: options, plain: map[string]*nearEntry{},
		byKey: map[string]map[string]*nearEntry{}, pending: map[string]*pendingRead{},
	}
	return store
}

// find is the entry of an id. The lock is held.
func (s *nearStore) find(id entryID) *nearEntry {
	if id.params == "" {
		return s.plain[id.key]
	}
	return s.byKey[id.key][id.params]
}

// get is an entry that is certain to be that of the store, and the time of that.
func (s *nearStore) get(id entryID) (*nearEntry, time.Time) {
	now := time.Now()
	if !s.feed.live(now) {
		return nil, now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.find(id)
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
	if read.next = s.pending[id.key]; read.next != nil {
		read.next.previous = read
	}
	s.pending[id.key] = read
	return read
}

// end takes a read off. The lock is held. It can be repeated.
func (s *nearStore) end(read *pendingRead) {
	switch {
	case read.previous != nil:
		read.previous.next = read.next
	case s.pending[read.id.key] != read:
		return
	case read.next == nil:
		delete(s.pending, read.id.key)
	default:
		s.pending[read.id.key] = read.next
	}
	if read.next != nil {
		read.next.previous = read.previous
	}
	read.next, read.previous = nil, nil
}

func (s *nearStore) soil(read *pendingRead) {
	for ; read != nil; read = read.next {
		read.dirty = true
	}
}

// drop ends a read whose result is not kept.
func (s *nearStore) drop(read *pendingRead) {
	if s == nil || read == nil {
		return
	}
	s.mu.Lock()
	s.end(read)
	s.mu.Unlock()
}

// beginAll is begin for the keys of a batch: all of them or, if there is no feed, nil. The reads of
// one call ask for the same consistency.
func (s *nearStore) beginAll(part []wanted) []*pendingRead {
	if s == nil {
		return nil
	}
	all := make([]*pendingRead, len(part))
	for i, each := range part {
		if all[i] = s.begin(each.at.id()); all[i] == nil {
			s.dropAll(all[:i])
			return nil
		}
	}
	return all
}

func (s *nearStore) dropAll(all []*pendingRead) {
	for _, read := range all {
		s.drop(read)
	}
}

// keep ends a read, and keeps its entry if nothing has changed meanwhile.
func (s *nearStore) keep(read *pendingRead, entry *nearEntry) {
	live := s.feed.live(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(read)
	if !live || read.dirty || read.epoch != s.feed.epoch.Load() ||
		entry.bytes > s.options.MaxBytes {
		return
	}
	if previous := s.find(entry.id); previous != nil {
		s.remove(previous)
	}
	s.count++
	s.bytes += entry.bytes
	s.link(entry)
	if entry.id.params == "" {
		s.plain[entry.id.key] = entry
	} else {
		siblings := s.byKey[entry.id.key]
		if siblings == nil {
			siblings = map[string]*nearEntry{}
			s.byKey[entry.id.key] = siblings
		}
		siblings[entry.id.params] = entry
	}
	for s.bytes > s.options.MaxBytes || s.count > s.options.MaxEntries {
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
	s.count--
	s.bytes -= entry.bytes
	s.unlink(entry)
	if entry.id.params == "" {
		delete(s.plain, entry.id.key)
		return
	}
	siblings := s.byKey[entry.id.key]
	if delete(siblings, entry.id.params); len(siblings) == 0 {
		delete(s.byKey, entry.id.key)
	}
}

// keyChanged forgets the entries with a key, with any params.
func (s *nearStore) keyChanged(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.soil(s.pending[key])
	if entry := s.plain[key]; entry != nil {
		s.remove(entry)
	}
	for _, entry := range s.byKey[key] {
		s.remove(entry)
	}
}

// matching forgets the entries for which concerns is true. Hits are served meanwhile: to match all
// of them may take a while.
func (s *nearStore) matching(concerns func(key string, tags []string) bool) {
	s.mu.Lock()
	// The tags of a value that is on its way are not there yet.
	s.soilAll()
	entries := make([]*nearEntry, 0, s.count)
	for entry := s.oldest; entry != nil; entry = entry.newer {
		entries = append(entries, entry)
	}
	s.mu.Unlock()
	entries = slices.DeleteFunc(entries, func(entry *nearEntry) bool {
		return !concerns(entry.id.key, entry.tags)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range entries {
		if s.find(entry.id) == entry {
			s.remove(entry)
		}
	}
}

func (s *nearStore) soilAll() {
	for _, first := range s.pending {
		s.soil(first)
	}
}

// clear forgets all entries.
func (s *nearStore) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.soilAll()
	clear(s.plain)
	clear(s.byKey)
	s.count, s.bytes, s.newest, s.oldest = 0, 0, nil, nil
}
