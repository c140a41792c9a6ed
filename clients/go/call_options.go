package larder

import (
	"slices"
	"time"
)

// The options of the calls. Each option implements the interfaces of the calls that take it.
type (
	// GetOption is an option of Get and Has.
	GetOption interface{ forGet(*callOptions) }
	// GetManyOption is an option of GetMany.
	GetManyOption interface{ forGetMany(*callOptions) }
	// SetOption is an option of Set.
	SetOption interface{ forSet(*callOptions) }
	// SetManyOption is an option of SetMany.
	SetManyOption interface{ forSetMany(*callOptions) }
	// FetchOption is an option of GetOrFetch and Fetch.
	FetchOption interface{ forFetch(*callOptions) }
	// FetchManyOption is an option of GetOrFetchMany.
	FetchManyOption interface{ forFetchMany(*callOptions) }
	// DeleteOption is an option of Delete and Take.
	DeleteOption interface{ forDelete(*callOptions) }
	// DeleteManyOption is an option of DeleteMany.
	DeleteManyOption interface{ forDeleteMany(*callOptions) }
	// TouchOption is an option of Touch.
	TouchOption interface{ forTouch(*callOptions) }
	// IncrementOption is an option of Increment.
	IncrementOption interface{ forIncrement(*callOptions) }
	// PatchOption is an option of MergePatch and JSONPatch.
	PatchOption interface{ forPatch(*callOptions) }
	// InvalidateOption is an option of Invalidate.
	InvalidateOption interface{ forInvalidate(*callOptions) }
	// ListOption is an option of ListKeys and CountKeys.
	ListOption interface{ forList(*callOptions) }
	// PlainOption is an option of calls that have no others.
	PlainOption interface{ forPlain(*callOptions) }
	// LoadedOption is how a computed value is cached: see [NewLoaded].
	LoadedOption interface{ forLoaded(*callOptions) }
	// NamespaceOption is a setting of a handle.
	NamespaceOption interface{ forNamespace(*namespaceOptions) }
)

// callOptions is what the options of a call come to. Pointers are nil for what is not given.
type callOptions struct {
	params     map[string]string
	timeout    time.Duration
	hasTimeout bool
	ttl        *time.Duration
	tags       []string
	ifAbsent   bool
	ifPresent  bool
	ifVersion  *string
	maxStale   *time.Duration
	consistent bool
	sliding    *time.Duration
	wait       *time.Duration
	refresh    bool
	noStore    bool
	holdOff    *time.Duration
	initial    int64
	ifExists   bool
	keepTTL    bool
	glob       string
	pageSize   int
}

// Params make several entries of one key, such as one per language.
type Params map[string]string

func (p Params) forGet(o *callOptions)        { o.params = p }
func (p Params) forGetMany(o *callOptions)    { o.params = p }
func (p Params) forSet(o *callOptions)        { o.params = p }
func (p Params) forSetMany(o *callOptions)    { o.params = p }
func (p Params) forFetch(o *callOptions)      { o.params = p }
func (p Params) forFetchMany(o *callOptions)  { o.params = p }
func (p Params) forDelete(o *callOptions)     { o.params = p }
func (p Params) forDeleteMany(o *callOptions) { o.params = p }
func (p Params) forTouch(o *callOptions)      { o.params = p }
func (p Params) forIncrement(o *callOptions)  { o.params = p }
func (p Params) forPatch(o *callOptions)      { o.params = p }
func (p Params) forInvalidate(o *callOptions) { o.params = p }

// Timeout is the time limit of a call, in place of the client's. The call of GetOrFetch has [Wait].
type Timeout time.Duration

func (t Timeout) apply(o *callOptions)         { o.timeout, o.hasTimeout = time.Duration(t), true }
func (t Timeout) forGet(o *callOptions)        { t.apply(o) }
func (t Timeout) forGetMany(o *callOptions)    { t.apply(o) }
func (t Timeout) forSet(o *callOptions)        { t.apply(o) }
func (t Timeout) forSetMany(o *callOptions)    { t.apply(o) }
func (t Timeout) forDelete(o *callOptions)     { t.apply(o) }
func (t Timeout) forDeleteMany(o *callOptions) { t.apply(o) }
func (t Timeout) forTouch(o *callOptions)      { t.apply(o) }
func (t Timeout) forIncrement(o *callOptions)  { t.apply(o) }
func (t Timeout) forPatch(o *callOptions)      { t.apply(o) }
func (t Timeout) forInvalidate(o *callOptions) { t.apply(o) }
func (t Timeout) forList(o *callOptions)       { t.apply(o) }
func (t Timeout) forPlain(o *callOptions)      { t.apply(o) }

// TTL is how long a value is fresh: [Forever] is the longest that the server permits, and zero or
// less deletes the entry. Without it the TTL is that of the handle, else of the server.
type TTL time.Duration

func (t TTL) apply(o *callOptions) {
	ttl := time.Duration(t)
	o.ttl = &ttl
}
func (t TTL) forSet(o *callOptions)       { t.apply(o) }
func (t TTL) forSetMany(o *callOptions)   { t.apply(o) }
func (t TTL) forFetch(o *callOptions)     { t.apply(o) }
func (t TTL) forFetchMany(o *callOptions) { t.apply(o) }
func (t TTL) forIncrement(o *callOptions) { t.apply(o) }
func (t TTL) forPatch(o *callOptions)     { t.apply(o) }
func (t TTL) forLoaded(o *callOptions)    { t.apply(o) }
func (t TTL) forNamespace(o *namespaceOptions) {
	ttl := time.Duration(t)
	o.ttl = &ttl
}

// TagsOption are tags: see [Tags].
type TagsOption []string

// Tags are stored with a value, in addition to those of the handle. Invalidate takes them.
func Tags(names ...string) TagsOption { return slices.Clone(names) }

func (t TagsOption) forSet(o *callOptions)            { o.tags = slices.Clone(t) }
func (t TagsOption) forSetMany(o *callOptions)        { o.tags = slices.Clone(t) }
func (t TagsOption) forFetch(o *callOptions)          { o.tags = slices.Clone(t) }
func (t TagsOption) forFetchMany(o *callOptions)      { o.tags = slices.Clone(t) }
func (t TagsOption) forLoaded(o *callOptions)         { o.tags = slices.Clone(t) }
func (t TagsOption) forNamespace(o *namespaceOptions) { o.tags = slices.Clone(t) }

// condition is an option of Set.
type condition func(*callOptions)

func (c condition) forSet(o *callOptions) { c(o) }

// IfAbsent stores only if there is no fresh entry.
func IfAbsent() SetOption { return condition(func(o *callOptions) { o.ifAbsent = true }) }

// IfPresent stores only if there is a fresh entry.
func IfPresent() SetOption { return condition(func(o *callOptions) { o.ifPresent = true }) }

// IfVersion changes an entry only if it has this version.
type IfVersion string

func (v IfVersion) apply(o *callOptions) {
	version := string(v)
	o.ifVersion = &version
}
func (v IfVersion) forSet(o *callOptions)    { v.apply(o) }
func (v IfVersion) forDelete(o *callOptions) { v.apply(o) }
func (v IfVersion) forPatch(o *callOptions)  { v.apply(o) }

// readOption is an option of all reads.
type readOption func(*callOptions)

// ReadOption is an option of all reads.
type ReadOption interface {
	GetOption
	GetManyOption
	FetchOption
	FetchManyOption
}

func (r readOption) forGet(o *callOptions)       { r(o) }
func (r readOption) forGetMany(o *callOptions)   { r(o) }
func (r readOption) forFetch(o *callOptions)     { r(o) }
func (r readOption) forFetchMany(o *callOptions) { r(o) }

// MaxStale is the longest time past the TTL for which a value may be stale; zero: none.
func MaxStale(d time.Duration) ReadOption {
	return readOption(func(o *callOptions) { o.maxStale = &d })
}

// Consistent asks the store, so that the read sees every write that was acknowledged before.
func Consistent() ReadOption { return readOption(func(o *callOptions) { o.consistent = true }) }

// Sliding is sliding expiration: a hit is fresh for at least this long from now.
func Sliding(d time.Duration) ReadOption {
	return readOption(func(o *callOptions) { o.sliding = &d })
}

// Wait is how long GetOrFetch waits for the computation of another process, which is 5 s otherwise.
// After that the loader runs, and its value is not stored.
type Wait time.Duration

func (w Wait) apply(o *callOptions) {
	wait := time.Duration(w)
	o.wait = &wait
}
func (w Wait) forFetch(o *callOptions)     { w.apply(o) }
func (w Wait) forFetchMany(o *callOptions) { w.apply(o) }

type refresh struct{}

// RefreshOption is an option of calls that compute values.
type RefreshOption interface {
	FetchOption
	FetchManyOption
}

// Refresh computes the value even if there is a fresh one.
func Refresh() RefreshOption { return refresh{} }

func (refresh) forFetch(o *callOptions)     { o.refresh = true }
func (refresh) forFetchMany(o *callOptions) { o.refresh = true }

type noStore struct{}

// NoStore is for a value that must not be cached.
func NoStore() LoadedOption { return noStore{} }

func (noStore) forLoaded(o *callOptions) { o.noStore = true }

// HoldOff rejects fills of what is removed for this long, for data sources with replicas that lag.
type HoldOff time.Duration

func (h HoldOff) apply(o *callOptions) {
	holdOff := time.Duration(h)
	o.holdOff = &holdOff
}
func (h HoldOff) forDelete(o *callOptions)     { h.apply(o) }
func (h HoldOff) forDeleteMany(o *callOptions) { h.apply(o) }
func (h HoldOff) forInvalidate(o *callOptions) { h.apply(o) }

// Initial is the value of a missing counter before the amount is added: 0.
type Initial int64

func (i Initial) forIncrement(o *callOptions) { o.initial = int64(i) }

type incrementOption func(*callOptions)

func (i incrementOption) forIncrement(o *callOptions) { i(o) }

// IfExists adds only to a counter that is there.
func IfExists() IncrementOption {
	return incrementOption(func(o *callOptions) { o.ifExists = true })
}

type patchOption func(*callOptions)

func (p patchOption) forPatch(o *callOptions) { p(o) }

// KeepTTL lets the changed value expire when it would have expired without the patch.
func KeepTTL() PatchOption { return patchOption(func(o *callOptions) { o.keepTTL = true }) }

// Glob selects keys: `*`, `?`, `[a-z]`.
type Glob string

func (g Glob) forList(o *callOptions) { o.glob = string(g) }

// PageSize is the number of keys per call: 100; at most 1,000.
type PageSize int

func (p PageSize) forList(o *callOptions) { o.pageSize = int(p) }

// namespaceOptions are the settings of a handle.
type namespaceOptions struct {
	ttl     *time.Duration
	tags    []string
	onError OnError
	near    *NearCache
}

func (e OnError) forNamespace(o *namespaceOptions)   { o.onError = e }
func (n NearCache) forNamespace(o *namespaceOptions) { o.near = &n }

// joinTags are the tags of the handle and of a value, each once.
func joinTags(ofHandle, own []string) []string {
	if len(own) == 0 {
		return ofHandle
	}
	seen := make(map[string]bool, len(ofHandle)+len(own))
	joined := make([]string, 0, len(ofHandle)+len(own))
	for _, list := range [2][]string{ofHandle, own} {
		for _, tag := range list {
			if !seen[tag] {
				seen[tag] = true
				joined = append(joined, tag)
			}
		}
	}
	return joined
}
