package larder

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc/resolver"
)

// WithCertificateRefresh is the time between two looks at the files of certificates.
func WithCertificateRefresh(d time.Duration) Option {
	return func(s *settings) { s.certificateRefresh = d }
}

// NearSize is the number of entries and bytes of the near cache of a handle.
func NearSize(n *Namespace) (entries, bytes int) {
	n.near.mu.Lock()
	defer n.near.mu.Unlock()
	return n.near.count, n.near.bytes
}

// ParseTarget is the address in the syntax of gRPC.
func ParseTarget(target string) (uri string, loopback bool, err error) {
	found, err := parseTarget(target)
	return found.uri, found.loopback, err
}

// NearPending is the number of keys of reads under way.
func NearPending(n *Namespace) int {
	n.near.mu.Lock()
	defer n.near.mu.Unlock()
	return len(n.near.pending)
}

// SetTokenTime is how long the token provider is waited for.
func SetTokenTime(c *Client, d time.Duration) { c.core.caller.connections.authorization.time = d }

// ReplaceConnection lets the next call connect anew.
func ReplaceConnection(c *Client) {
	connections := c.core.caller.connections
	connections.mu.Lock()
	defer connections.mu.Unlock()
	if connections.current != nil {
		connections.retire(connections.current)
	}
}

// LapseFeed lets the last message of the feed be too long ago.
func LapseFeed(n *Namespace) { n.near.feed.steady.Add(-int64(time.Hour)) }

// PauseFeed is the time until a feed that the server has refused is opened again.
func PauseFeed(n *Namespace, d time.Duration) { n.near.feed.pause = d }

// NearReady reports whether the near cache is in use.
func NearReady(n *Namespace) bool { return n.near.feed.ready.Load() }

// FlipFeed begins and ends the use of the near cache over and over, without a stream. flips is how
// often it has.
func FlipFeed(n *Namespace) (flips func() int64, end func()) {
	n.near.feed.started.Store(true)
	stop, stopped := make(chan struct{}), make(chan struct{})
	var count atomic.Int64
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				n.near.feed.ready.Store(count.Add(1)%2 == 0)
			}
		}
	}()
	return count.Load, func() {
		close(stop)
		<-stopped
	}
}

// NearBegin begins and drops the reads of a batch, and returns their number.
func NearBegin(n *Namespace, keys []string) (begun int) {
	part := make([]wanted, len(keys))
	for i, key := range keys {
		part[i] = wanted{key, address{key: key}}
	}
	all := n.near.beginAll(part)
	n.near.dropAll(all)
	for _, read := range all {
		if read != nil {
			begun++
		}
	}
	return begun
}

// PublishAddresses is what a resolver of several addresses passes on for each of them.
func PublishAddresses(cc resolver.ClientConn, addresses int) func(int, resolver.State) error {
	list := &addressList{
		cc: cc, found: make([]*resolver.State, addresses), failed: make([]error, addresses),
	}
	return func(i int, state resolver.State) error { return list.publish(i, &state, nil) }
}

// Footprint is about how many bytes of memory a value takes.
func Footprint(value any) int { return footprint(value) }
