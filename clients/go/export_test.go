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
	return len(n.near.entries), n.near.bytes
}

// ParseTarget is the address in the syntax of gRPC.
func ParseTarget(target string) (uri string, loopback bool, err error) {
	found, err := parseTarget(target)
	return found.uri, found.loopback, err
}
