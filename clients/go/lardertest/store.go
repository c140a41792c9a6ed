package lardertest

import (
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"larder.test/clients/go/larderpb"
)

// Namespace has the settings of a namespace of the fake; those that are zero are the defaults.
type Namespace struct {
	// TTL is 30 min.
	TTL time.Duration
	// MaxTTL is 7 d.
	MaxTTL time.Duration
	// StaleWhileRevalidate is how long reads return a value past its TTL: 0.
	StaleWhileRevalidate time.Duration
	// StaleIfError is how long a value past its TTL is there for failed computations: 0.
	StaleIfError time.Duration
	// LeaseTTL is 10 s.
	LeaseTTL time.Duration
	// LeaseWait is 5 s.
	LeaseWait time.Duration
	// AbandonBackoff is how long no lease is granted after a loader has failed: 1 s.
	AbandonBackoff time.Duration
	// MaxValueBytes is 1 MiB.
	MaxValueBytes int
	// Origin computes values as the origin of the namespace; nil: there is none. A nil value is the
	// cached absence of a value.
	Origin func(key string, params map[string]string) (*larderpb.Value, error)
}

func (n Namespace) withDefaults(base Namespace) Namespace {
	return Namespace{
		TTL:                  cmp.Or(n.TTL, base.TTL, 30*time.Minute),
		MaxTTL:               cmp.Or(n.MaxTTL, base.MaxTTL, 7*24*time.Hour),
		StaleWhileRevalidate: cmp.Or(n.StaleWhileRevalidate, base.StaleWhileRevalidate),
		StaleIfError:         cmp.Or(n.StaleIfError, base.StaleIfError),
		LeaseTTL:             cmp.Or(n.LeaseTTL, base.LeaseTTL, 10*time.Second),
		LeaseWait:            cmp.Or(n.LeaseWait, base.LeaseWait, 5*time.Second),
		AbandonBackoff:       cmp.Or(n.AbandonBackoff, base.AbandonBackoff, time.Second),
		MaxValueBytes:        cmp.Or(n.MaxValueBytes, base.MaxValueBytes, 1<<20),
		Origin:               n.Origin,
	}
}

// place is where an entry is.
type place struct{ namespace, key, params, schema string }

// located is a request that names an entry.
type located interface {
	GetNamespace() string
	GetKey() string
	GetParams() map[string]string
}

func placeOf(at located, schema string) place {
	params := ""
	if len(at.GetParams()) > 0 {
		// encoding/json sorts the names.
		text, _ := json.Marshal(at.GetParams())
		params = string(text)
	}
	return place{at.GetNamespace(), at.GetKey(), params, schema}
}

// entry is an entry of the fake. A nil value is the cached absence of a value.
type entry struct {
	place
	value      *larderpb.Value
	version    string
	tags       []string
	writtenAt  time.Time
	freshUntil time.Time
	// staleUntil is the end of the window for reads, and keptUntil that for failed computations.
	staleUntil, keptUntil time.Time
}

func (e *entry) extend(until time.Time, settings Namespace) {
	e.freshUntil = until
	e.staleUntil = until.Add(settings.StaleWhileRevalidate)
	e.keptUntil = until.Add(max(settings.StaleWhileRevalidate, settings.StaleIfError))
}

// now is a clock that runs on and can be advanced.
func (f *Fake) now() time.Time { return time.Now().Add(f.offset) }

func (f *Fake) settings(namespace string) Namespace {
	return f.namespaces[namespace].withDefaults(f.defaults)
}

// find is the entry, if it is within its TTL or its windows.
func (f *Fake) find(at place) (found *entry, fresh bool) {
	found = f.entries[at]
	if found == nil {
		return nil, false
	}
	now := f.now()
	if now.Before(found.freshUntil) {
		return found, true
	}
	if now.Before(found.keptUntil) {
		return found, false
	}
	delete(f.entries, at)
	return nil, false
}

// fresh is the entry, if it is within its TTL.
func (f *Fake) fresh(at place) *entry {
	found, fresh := f.find(at)
	if !fresh {
		return nil
	}
	return found
}

// put stores a value. A TTL of zero is that of the namespace.
func (f *Fake) put(at place, value *larderpb.Value, ttl time.Duration, tags []string) *entry {
	settings := f.settings(at.namespace)
	sorted := slices.Clone(tags)
	sort.Strings(sorted)
	made := &entry{
		place: at, version: strconv.FormatUint(rand.Uint64(), 16), tags: slices.Compact(sorted),
		writtenAt: f.now(),
	}
	if value != nil {
		made.value = proto.Clone(value).(*larderpb.Value)
	}
	made.extend(made.writtenAt.Add(min(cmp.Or(ttl, settings.TTL), settings.MaxTTL)), settings)
	f.entries[at] = made
	return made
}

// of are the entries of a namespace that have not ended.
func (f *Fake) of(namespace string) []*entry {
	var found []*entry
	for at := range f.entries {
		if at.namespace == namespace {
			if one, _ := f.find(at); one != nil {
				found = append(found, one)
			}
		}
	}
	slices.SortFunc(found, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.params, b.params))
	})
	return found
}
