package larder

import (
	"sync"
	"sync/atomic"
)

// Counts are the events of one namespace since the client was made; in OpenTelemetry they are
// counters such as `larder.client.near_hits`.
type Counts struct {
	Hits, Misses, Stale, Negatives, NearHits uint64
	// Loads are computations, and LoadErrors those that failed.
	Loads, LoadErrors uint64
	// Joined are calls that had the value of another call of this process.
	Joined uint64
	// FailOpen are calls that went on without the cache.
	FailOpen uint64
	// FillsRefused are computed values that the cache did not take.
	FillsRefused uint64
	// Undecodable are values that the codec could not read.
	Undecodable uint64
	// Errors are calls that failed, and Retries attempts after the first.
	Errors, Retries uint64
}

// counts are the counters of a namespace. hits are those without nearHits.
type counts struct {
	hits, misses, stale, negatives, nearHits atomic.Uint64
	loads, loadErrors, joined, failOpen      atomic.Uint64
	fillsRefused, undecodable                atomic.Uint64
	errors, retries                          atomic.Uint64
}

func (c *counts) snapshot() Counts {
	near := c.nearHits.Load()
	return Counts{
		Hits: c.hits.Load() + near, Misses: c.misses.Load(), Stale: c.stale.Load(),
		Negatives: c.negatives.Load(), NearHits: near, Loads: c.loads.Load(),
		LoadErrors: c.loadErrors.Load(), Joined: c.joined.Load(), FailOpen: c.failOpen.Load(),
		FillsRefused: c.fillsRefused.Load(), Undecodable: c.undecodable.Load(),
		Errors: c.errors.Load(), Retries: c.retries.Load(),
	}
}

// maxCounted is the number of namespaces that are counted by themselves; those beyond are `_other`.
const (
	maxCounted  = 1000
	otherCounts = "_other"
)

type counters struct {
	mu         sync.Mutex
	namespaces map[string]*counts
}

func (c *counters) of(namespace string) *counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.namespaces == nil {
		c.namespaces = map[string]*counts{}
	}
	found := c.namespaces[namespace]
	if found != nil {
		return found
	}
	if len(c.namespaces) >= maxCounted {
		namespace = otherCounts
		if found = c.namespaces[namespace]; found != nil {
			return found
		}
	}
	found = &counts{}
	c.namespaces[namespace] = found
	return found
}

func (c *counters) snapshot() map[string]Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]Counts, len(c.namespaces))
	for namespace, each := range c.namespaces {
		all[namespace] = each.snapshot()
	}
	return all
}
