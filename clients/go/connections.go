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
	// silentSince is the begin of the first of these calls, in nanoseconds since 1970.
	silentSince atomic.Int64
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

	mu      sync.Mutex
	current *link
	retired map[*link]struct{}
	// lastCall is when the last call began or ended.
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
		c.certificates, err = newCertificates(s.files, s.serverName, s.certificateRefresh, s.logger)
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
		secure = c.certificates.current()
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
		c.retire(c.current)
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
	if c.limits.maxIdle > 0 {
		c.lastCall = time.Now()
	}
	last := used.retired != nil && used.active == 0
	c.mu.Unlock()
	if last {
		c.end(used)
	}
}

// retire makes the next call connect anew. Calls that run have a minute to end. The lock is held.
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
	parent context.Context, timeout time.Duration, call exchange,
) error {
	if parent.Err() != nil {
		return ended(parent)
	}
	used, err := c.acquire()
	if err != nil {
		return err
	}
	defer c.release(used)
	ctx, begun := parent, time.Now()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, begun.Add(c.limit(used, timeout)))
		defer cancel()
	}
	header, err := c.header(ctx, parent)
	if err != nil {
		return err
	}
	if header != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", header)
		begun = time.Now() // A provider of tokens may have taken its time.
	}
	if err = call.send(ctx, used); err == nil {
		used.answeredNow()
		return nil
	}
	failure := fromStatus(err, call.trailers())
	switch {
	case failure.Code == codes.Canceled:
		// Its caller has left: that proves nothing.
	case failure.Code == codes.DeadlineExceeded && ctx.Err() != nil && !failure.answered:
		c.noAnswer(used, begun)
	default:
		used.unanswered.Store(0)
	}
	if failure.Code == codes.Unauthenticated {
		c.authorization.refuse(header)
	}
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

// header is that of the token; empty: there is none. The provider has as long as the call.
func (c *connections) header(ctx, parent context.Context) (string, error) {
	if c.authorization == nil {
		return "", nil
	}
	if _, limited := ctx.Deadline(); !limited {
		// The streams of changes have no time limit.
		limited, cancel := context.WithTimeout(ctx, readyTime)
		defer cancel()
		ctx = limited
	}
	header, err := c.authorization.get(ctx)
	if err != nil && ctx.Err() != nil && parent.Err() == nil {
		return "", noToken(codes.DeadlineExceeded, "the token provider does not answer in time", nil)
	}
	return header, err
}

// sameDeadline is how much sooner than the caller's context the server may see its deadline.
const sameDeadline = 20 * time.Millisecond

// awaitDeadline lets a context end whose deadline the server has seen first.
func awaitDeadline(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < sameDeadline {
		<-ctx.Done()
	}
}

// answeredNow notes an answer.
func (l *link) answeredNow() {
	l.answered.Store(true)
	l.unanswered.Store(0)
}

// noAnswer judges a connection by calls without an answer in time: one can look alive and be dead,
// after a freeze, a failover or by a NAT. Calls whose callers wait for a shorter time than a call
// may take prove nothing by themselves.
func (c *connections) noAnswer(used *link, begun time.Time) {
	count := used.unanswered.Add(1)
	if count == 1 {
		used.silentSince.Store(begun.UnixNano())
	}
	silent := time.Since(time.Unix(0, used.silentSince.Load())) >= c.limits.call
	if silent && (c.limits.maxIdle > 0 || count >= deadAfter) {
		c.replace(used)
	}
}

// replace makes the next call connect anew.
func (c *connections) replace(used *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == used {
		c.retire(used)
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
	if c.authorization.renews() {
		c.authorization.close()
	}
	for _, each := range ending {
		_ = each.conn.Close()
	}
}
