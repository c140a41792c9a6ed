package larder

import (
	"log/slog"
	"slices"
	"time"
)

// core is what all handles of a client share.
type core struct {
	caller     *caller
	counters   *counters
	limits     limits
	flights    flights
	background *background
	running    running
	feeds      feeds
	logger     *slog.Logger
}

// scope is a handle's settings, with what it needs to make calls.
type scope struct {
	core *core
	// namespace is the name as the server has it.
	namespace string
	// ttl is nil for the server's default.
	ttl  *time.Duration
	tags []string
	// raise: outages are errors everywhere.
	raise bool
	count *counts
	// near is the near cache of the handle; nil: none.
	near *nearStore
}

// address is an entry as the server addresses it.
type address struct {
	key    string
	params map[string]string
}

// entryID is equal for equal entries of a namespace. params is one text per set of params.
type entryID struct{ key, params string }

func (a address) id() entryID {
	if len(a.params) == 0 {
		return entryID{key: a.key}
	}
	return entryID{key: a.key, params: string(paramBytes(a.params))}
}

func addressOf(key string, params map[string]string) (address, error) {
	encoded, err := encodeKey(key)
	if err != nil {
		return address{}, err
	}
	encodedParams, err := encodeParams(params)
	return address{key: encoded, params: encodedParams}, err
}

func addressesOf(keys []string, params map[string]string) ([]address, error) {
	encodedParams, err := encodeParams(params)
	if err != nil {
		return nil, err
	}
	addresses := make([]address, len(keys))
	for i, key := range keys {
		encoded, err := encodeKey(key)
		if err != nil {
			return nil, err
		}
		addresses[i] = address{key: encoded, params: encodedParams}
	}
	return addresses, nil
}

// spec is how a call of a handle is made.
func (s *scope) spec(method string, options *callOptions, idempotent, open bool) callSpec {
	spec := callSpec{
		method: method, timeout: s.core.limits.call, namespace: s.namespace, count: s.count,
		idempotent: idempotent, open: open && !s.raise,
	}
	if options != nil && options.hasTimeout {
		spec.timeout = options.timeout
	}
	return spec
}

// failsOpen reports whether a call goes on without the cache after this error.
func (s *scope) failsOpen(err error) bool {
	if s.raise || !isOutage(err) {
		return false
	}
	s.count.failOpen.Add(1)
	return true
}

// ttlOf is the TTL of a write: its own, else the handle's. Nil: the server's.
func (s *scope) ttlOf(options *callOptions) *time.Duration {
	if options.ttl != nil {
		return options.ttl
	}
	return s.ttl
}

// tagsOf are the tags of a computed value, sorted: those of the handle, of the call and its own.
func (s *scope) tagsOf(options *callOptions, own []string) []string {
	all := joinTags(joinTags(s.tags, options.tags), own)
	return slices.Sorted(slices.Values(all))
}

// batchKeys is the most keys of a batch that the server takes.
const batchKeys = 1000

// check is what all calls with these options have in common.
func (o *callOptions) check() error {
	if o.hasTimeout {
		if err := positive(o.timeout, "Timeout"); err != nil {
			return err
		}
	}
	for _, each := range []struct {
		value *time.Duration
		name  string
	}{{o.maxStale, "MaxStale"}, {o.wait, "Wait"}, {o.holdOff, "HoldOff"}} {
		if each.value != nil {
			if err := notNegative(*each.value, each.name); err != nil {
				return err
			}
		}
	}
	if o.sliding != nil {
		if err := positive(*o.sliding, "Sliding"); err != nil {
			return err
		}
	}
	if o.ifVersion != nil && *o.ifVersion == "" {
		return wrong("IfVersion", "must not be empty")
	}
	return nil
}
