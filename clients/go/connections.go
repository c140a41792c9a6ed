package larder

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"larder.test/clients/go/larderpb"
)

const (
	maxReceived = 16 << 20
	// deadAfter is the number of calls in a row without an answer in time after which a connection
	// counts as dead.
	deadAfter = 5
	// drained is the time that calls have to end on a connection that was replaced.
	drained = time.Minute
	// The longest time between attempts to connect is 1.5 s with a jitter of 20 %.
	firstReconnect   = 100 * time.Millisecond
	longestReconnect = 1500 * time.Millisecond
	roundRobin       = `{"loadBalancingConfig":[{"round_robin":{}}]}`
)

// link is one connection, or one per address.
type link struct {
	conn     *grpc.ClientConn
	stub     larderpb.CacheServiceClient
	answered atomic.Bool
	// unanswered counts calls in a row that had no answer in time.
	unanswered atomic.Int32
	// active and retired belong to the lock of connections.
	active  int
	retired *time.Timer
}

// connections makes and replaces the connections of a client. The first call makes the first.
type connections struct {
	settings      *settings
	limits        limits
	endpoint      endpoint
	authorization *authorization
	certificates  *certificates
	// base is the metadata of all calls.
	base metadata.MD

	mu       sync.Mutex
	current  *link
	retired  map[*link]struct{}
	lastCall time.Time
	closed   bool
}

func newConnections(s *settings, bounds limits) (*connections, error) {
	c := &connections{
		settings: s, limits: bounds, base: metadata.MD{}, retired: map[*link]struct{}{},
	}
	var err error
	if c.endpoint, err = parseTarget(s.target); err != nil {
		return nil, err
	}
	if c.authorization, err = newAuthorization(s.token, s.provider); err != nil {
		return nil, err
	}
	secure := s.tls || s.files.any()
	if c.authorization != nil && !secure && !c.endpoint.loopback && !s.allowPlaintext {
		return nil, wrong("Token", "not sent over plain text to %s: use TLS, or permit it with "+
			"WithPlaintextToken", s.target)
	}
	if secure {
		c.certificates, err = newCertificates(s.files, s.serverName, s.certificateRefresh)
		if err != nil {
			return nil, err
		}
	}
	if s.schemaVersion != "" {
		c.base.Set("larder-schema-version", s.schemaVersion)
	}
	return c, nil
}

func (c *connections) dialOptions(secure credentials.TransportCredentials) []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		grpc.WithUserAgent("larder-go/" + Version),
		grpc.WithDefaultServiceConfig(roundRobin),
		grpc.WithDisableServiceConfig(),
		// A method is retried or not by its arguments, which a service config cannot express.
		grpc.WithDisableRetry(),
		grpc.WithResolvers(listResolver{}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceived)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: firstReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestReconnect,
			},
			MinConnectTimeout: c.limits.connect,
		}),
	}
	if c.limits.keepalive > 0 {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: c.limits.keepalive, Timeout: c.settings.keepaliveTimeout,
		}))
	}
	if c.settings.dialer != nil {
		options = append(options, grpc.WithContextDialer(c.settings.dialer))
	}
	return append(options, c.settings.dialOptions...)
}

func (c *connections) newLink() (*link, error) {
	secure := insecure.NewCredentials()
	if c.certificates != nil {
		var err error
		if secure, err = c.certificates.read(); err != nil {
			return nil, err
		}
	}
	uri := c.endpoint.uri
	if c.settings.dialer != nil {
		uri = "passthrough:///" + c.settings.target
	}
	conn, err := grpc.NewClient(uri, c.dialOptions(secure)...)
	if err != nil {
		return nil, wrong("target", "%v", err)
	}
	return &link{conn: conn, stub: larderpb.NewCacheServiceClient(conn)}, nil
}

// acquire is the connection for a call, which must release it.
func (c *connections) acquire() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, closedError()
	}
	if c.current != nil && c.certificates != nil && c.certificates.changed() {
		// Files that do not fit together, yet, leave the old ones in use.
		if renewed, err := c.newLink(); err == nil {
			c.retire(c.current)
			c.current = renewed
		}
	}
	if c.limits.maxIdle > 0 {
		now := time.Now()
		// Either clock may have stood still while the process was frozen.
		idle := max(now.Sub(c.lastCall), now.Round(0).Sub(c.lastCall.Round(0)))
		if c.current != nil && idle > c.limits.maxIdle {
			c.retire(c.current)
		}
		c.lastCall = now
	}
	if c.current == nil {
		made, err := c.newLink()
		if err != nil {
			return nil, err
		}
		c.current = made
	}
	c.current.active++
	return c.current, nil
}

func (c *connections) release(used *link) {
	c.mu.Lock()
	used.active--
	last := used.retired != nil && used.active == 0
	c.mu.Unlock()
	if last {
		c.end(used)
	}
}

// retire makes the next call connect anew. Calls that run have a minute to end.
func (c *connections) retire(old *link) {
	c.current = nil
	c.retired[old] = struct{}{}
	wait := drained
	if old.active == 0 {
		wait = 0
	}
	old.retired = time.AfterFunc(wait, func() { c.end(old) })
}

func (c *connections) end(old *link) {
	c.mu.Lock()
	_, open := c.retired[old]
	delete(c.retired, old)
	c.mu.Unlock()
	if open {
		old.retired.Stop()
		_ = old.conn.Close()
	}
}

// limit is the time of an attempt. The first call has the time to connect, too.
func (c *connections) limit(l *link, timeout time.Duration) time.Duration {
	state := l.conn.GetState()
	if state == connectivity.Ready || l.answered.Load() && state != connectivity.Idle {
		return timeout
	}
	return timeout + c.limits.connect
}

// attempt makes one attempt of a call. A timeout of zero is none.
func (c *connections) attempt(
	parent context.Context, timeout time.Duration,
	call func(context.Context, *link, *metadata.MD) error,
) error {
	if parent.Err() != nil {
		return ended(parent)
	}
	used, err := c.acquire()
	if err != nil {
		return err
	}
	defer c.release(used)
	ctx := parent
	if c.authorization != nil {
		header, err := c.authorization.get(parent)
		if err != nil {
			return err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", header)
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.limit(used, timeout))
		defer cancel()
	}
	var trailer metadata.MD
	err = call(ctx, used, &trailer)
	if err == nil {
		used.heard()
		return nil
	}
	failure := fromStatus(err, trailer)
	c.note(used, failure.Code)
	if failure.Code == codes.DeadlineExceeded {
		awaitDeadline(parent)
	}
	switch {
	case parent.Err() != nil:
		return ended(parent)
	case c.isClosed():
		return closedError()
	}
	return failure
}

// sameDeadline is how much sooner than the caller's context the server may see its deadline.
const sameDeadline = 20 * time.Millisecond

// awaitDeadline lets a context end whose deadline the server has seen first.
func awaitDeadline(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < sameDeadline {
		<-ctx.Done()
	}
}

// heard notes an answer.
func (l *link) heard() {
	l.answered.Store(true)
	l.unanswered.Store(0)
}

// note judges a connection by the end of a call: one can look alive and be dead, after a freeze, a
// failover or by a NAT.
func (c *connections) note(used *link, code codes.Code) {
	switch code {
	case codes.Canceled:
		// Its caller has left: that proves nothing.
	case codes.DeadlineExceeded:
		count := used.unanswered.Add(1)
		if c.limits.maxIdle == 0 && count < deadAfter {
			return
		}
		c.mu.Lock()
		if c.current == used {
			c.retire(used)
		}
		c.mu.Unlock()
	case codes.Unauthenticated:
		c.authorization.refuse()
		fallthrough
	default:
		used.unanswered.Store(0)
	}
}

func (c *connections) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// connect waits until there is a connection.
func (c *connections) connect(parent context.Context, timeout time.Duration) error {
	used, err := c.acquire()
	if err != nil {
		return err
	}
	defer c.release(used)
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	for {
		used.conn.Connect()
		state := used.conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		if state == connectivity.Shutdown {
			return closedError()
		}
		if used.conn.WaitForStateChange(ctx, state) {
			continue
		}
		if parent.Err() != nil {
			return ended(parent)
		}
		message := fmt.Sprintf("no connection within %v", timeout)
		return &Error{Code: codes.Unavailable, Message: message}
	}
}

// close ends all connections.
func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	ending := make([]*link, 0, len(c.retired)+1)
	for old := range c.retired {
		old.retired.Stop()
		ending = append(ending, old)
	}
	if c.current != nil {
		ending = append(ending, c.current)
	}
	c.retired, c.current = map[*link]struct{}{}, nil
	c.mu.Unlock()
	for _, each := range ending {
		_ = each.conn.Close()
	}
}
