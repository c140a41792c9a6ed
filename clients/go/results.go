package larder

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"larder.test/clients/go/larderpb"
)

// Outcome is the kind of a [Result].
type Outcome uint8

// The outcomes of a read.
const (
	// Miss is no value.
	Miss Outcome = iota
	// Hit is a fresh value.
	Hit
	// Stale is a value past its TTL, within the staleness window.
	Stale
	// Negative is the cached absence of a value.
	Negative
)

// String returns `MISS`, `HIT`, `STALE` or `NEGATIVE`.
func (o Outcome) String() string { return [...]string{"MISS", "HIT", "STALE", "NEGATIVE"}[o] }

// Tier is where a value comes from.
type Tier uint8

// The tiers of values.
const (
	// TierNone is that of a miss.
	TierNone Tier = iota
	// TierNear is the near cache of the server.
	TierNear
	// TierStore is the store of the server.
	TierStore
	// TierOrigin is the origin of the namespace.
	TierOrigin
	// TierClient is the near cache of this process.
	TierClient
	// TierLoader is a loader of this process.
	TierLoader
)

// String returns the name of the tier in the contract.
func (t Tier) String() string {
	return [...]string{"", "near", "store", "origin", "client", "loader"}[t]
}

// Result is the result of a read.
type Result[T any] struct {
	Outcome Outcome
	// Value is that of Hit and Stale, else the zero value.
	Value T
	// Version of the value, for IfVersion; empty if it is not in the store.
	Version string
	// Age is the time since the value was written.
	Age time.Duration
	// TTLRemaining is the time until the value becomes stale.
	TTLRemaining time.Duration
	// Tags of the entry, sorted. They must not be changed.
	Tags []string
	Tier Tier
	// Degraded: the cache or its store was away, slow or full.
	Degraded bool
	// Err is why there is no value, or no fresh one.
	Err error
	// Joined: the value was computed for another call of this process that this one joined.
	Joined bool
	// Fill is the result of storing a value that was computed; nil if none was.
	Fill *Write
}

// Found reports whether there is a value: the outcome is Hit or Stale.
func (r Result[T]) Found() bool { return r.Outcome == Hit || r.Outcome == Stale }

// NotStoredReason is why a value is not stored.
type NotStoredReason string

// The reasons of a [Write] that is not stored.
const (
	ConditionNotMet NotStoredReason = "CONDITION_NOT_MET"
	LeaseLost       NotStoredReason = "LEASE_LOST"
	Invalidated     NotStoredReason = "INVALIDATED"
	Superseded      NotStoredReason = "SUPERSEDED"
	NotStored       NotStoredReason = "NOT_STORED"
	Expired         NotStoredReason = "EXPIRED"
	NotEncodable    NotStoredReason = "NOT_ENCODABLE"
	Degraded        NotStoredReason = "DEGRADED"
	Unavailable     NotStoredReason = "UNAVAILABLE"
)

// Write is the result of a write.
type Write struct {
	Stored bool
	// Version of the stored value, for IfVersion.
	Version string
	// TTL is the one that was applied.
	TTL time.Duration
	// Reason is why the value is not stored; empty if it is.
	Reason NotStoredReason
	// Degraded: the cache or its store was away, slow or full.
	Degraded bool
	// Err has more about the reason.
	Err error
}

// Deletion is the result of a deletion.
type Deletion struct {
	// Existed: there was an entry.
	Existed bool
	// Deleted: an entry was removed.
	Deleted bool
	// Queued: the deletion is in the journal of the server, and applied when its store is back.
	Queued bool
}

// Touched is the result of Touch.
type Touched struct {
	// Found: there was a fresh entry.
	Found bool
	// TTL is the one that was applied.
	TTL time.Duration
	// Degraded: the cache or its store was away, slow or full.
	Degraded bool
	Err      error
}

// Counter is the result of Increment.
type Counter struct {
	// Value is the sum.
	Value int64
	// Missing: there is no counter, and IfExists forbids to create one.
	Missing      bool
	Version      string
	TTLRemaining time.Duration
}

// Patched is the result of a patch.
type Patched struct {
	// Applied: the changed value is stored.
	Applied bool
	// Missing: there is no fresh value. Neither Applied nor Missing: the version is another one.
	Missing bool
	Version string
	TTL     time.Duration
}

// Invalidation is the result of an invalidation.
type Invalidation struct {
	// Queued: it is in the journal of the server, and applied when its store is back.
	Queued bool
	// NamespaceInvalidated: the whole namespace is, because it has too many tags or patterns.
	NamespaceInvalidated bool
	// Existed has for each of the keys, in their order, whether there was an entry.
	Existed []bool
}

// Published is the result of an event.
type Published struct {
	// Targets is the number of targets that the rules of the server have selected.
	Targets int
	// Queued: some are in the journal of the server, and applied when its store is back.
	Queued bool
}

func tierOf(tier larderpb.Tier) Tier {
	switch tier {
	case larderpb.Tier_TIER_NEAR:
		return TierNear
	case larderpb.Tier_TIER_STORE:
		return TierStore
	case larderpb.Tier_TIER_ORIGIN:
		return TierOrigin
	}
	return TierNone
}

func asDuration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.AsDuration()
}

// describe fills in the facts of the server about an entry.
func describe[T any](result *Result[T], entry *larderpb.EntryInfo) {
	if entry == nil {
		return
	}
	result.Version = entry.Version
	result.Age = asDuration(entry.Age)
	result.TTLRemaining = asDuration(entry.TtlRemaining)
	result.Tags = entry.Tags
	result.Tier = tierOf(entry.Tier)
}

// loadedResult is the result of a value that a loader computed.
func loadedResult[T any](value T, fill Write, tags []string, degraded bool, err error) Result[T] {
	return Result[T]{
		Outcome: Hit, Value: value, Version: fill.Version, TTLRemaining: fill.TTL, Tags: tags,
		Tier: TierLoader, Degraded: degraded, Err: err, Fill: &fill,
	}
}
