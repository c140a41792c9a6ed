package larder

import "time"

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
