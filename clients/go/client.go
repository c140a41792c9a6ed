package larder

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"larder.test/clients/go/larderpb"
)

// manyClients is the number of clients of a process at which a leak is likely.
const manyClients = 10

// partingTime is how long Close waits for the calls that give leases up.
const partingTime = time.Second

var liveClients atomic.Int32

// Client is a client of Larder. A process has one. It connects at the first call, and is safe for
// concurrent use.
type Client struct {
	core    *core
	prefix  string
	onError OnError
	closing sync.Once
	// uncounted lets the observer forget this client.
	uncounted func()
}

// New makes a client of `host:port`, `dns:///host:port`, `unix:path`, or several addresses
// separated by commas. An empty target is LARDER_ENDPOINT, else 127.0.0.1:50051. It does not
// connect.
func New(target string, options ...Option) (*Client, error) {
	s, bounds, err := setting(target, options)
	if err != nil {
		return nil, err
	}
	connections, err := newConnections(s, bounds)
	if err != nil {
		return nil, err
	}
	c := &Client{
		prefix: s.prefix, onError: s.onError,
		core: &core{
			caller: &caller{
				connections: connections, logger: s.logger, observer: s.observer,
			},
			counters: &counters{}, limits: bounds, logger: s.logger,
			background: newBackground(s.background, s.logger),
		},
	}
	c.uncounted = nothing
	if observer, ok := s.observer.(CountersObserver); ok {
		c.uncounted = observer.Counters(c.Counters)
	}
	if liveClients.Add(1) == manyClients {
		s.logger.Warn("larder: many clients are open: one per process is enough, and each keeps "+
			"connections until Close", "clients", manyClients)
	}
	return c, nil
}

// CountersObserver is an [Observer] that also reads the counters of the client.
type CountersObserver interface {
	Observer
	// Counters receives a function that returns them. What it returns is called by Close: the
	// counters do not change after that.
	Counters(read func() map[string]Counts) (end func())
}

// Connect connects now rather than at the first call. The error is [ErrUnavailable] if that takes
// longer than the connect timeout.
func (c *Client) Connect(ctx context.Context) error {
	if err := c.core.caller.checkOpen(); err != nil {
		return err
	}
	return c.core.caller.connections.connect(ctx, c.core.limits.connect)
}

// Namespace is a handle for a namespace, with the calls that have no values; [For] and [Of] add
// those. A name that the server does not take as it is gets an encoded one.
func (c *Client) Namespace(name string, options ...NamespaceOption) (*Namespace, error) {
	var o namespaceOptions
	for _, option := range options {
		option.forNamespace(&o)
	}
	if err := o.onError.check(); err != nil {
		return nil, err
	}
	if name == "" {
		return nil, wrong("namespace", "must not be empty")
	}
	namespace, err := encodeNamespace(c.prefix + name)
	if err != nil {
		return nil, err
	}
	onError := c.onError
	if o.onError != "" {
		onError = o.onError
	}
	made := &Namespace{name: name, scope: scope{
		core: c.core, namespace: namespace, ttl: o.ttl, tags: joinTags(nil, o.tags),
		raise: onError == Raise, count: c.core.counters.of(namespace),
	}}
	if o.near != nil {
		if err := o.near.check(); err != nil {
			return nil, err
		}
		made.near = c.core.feeds.open(&made.scope).store(*o.near)
	}
	return made, nil
}

// PublishEvent invalidates what the rules of the server select for an event, in all namespaces.
func (c *Client) PublishEvent(
	ctx context.Context, name string, attributes map[string]string, options ...PlainOption,
) (Published, error) {
	return c.scope().publish(ctx, name, attributes, options)
}

// Stats are the statistics of these namespaces, or of all.
func (c *Client) Stats(
	ctx context.Context, namespaces []string, options ...PlainOption,
) (*larderpb.StatsResponse, error) {
	encoded := make([]string, len(namespaces))
	for i, name := range namespaces {
		var err error
		if encoded[i], err = encodeNamespace(c.prefix + name); err != nil {
			return nil, err
		}
	}
	return c.scope().stats(ctx, encoded, options)
}

// scope is that of calls that belong to no namespace.
func (c *Client) scope() *scope {
	return &scope{core: c.core, count: c.core.counters.of("")}
}

// Counters are the events by namespace since the client was made.
func (c *Client) Counters() map[string]Counts { return c.core.counters.snapshot() }

// Connection makes calls with generated stubs, such as
// larderpb.NewAdminServiceClient(client.Connection()), on the connections of this client, with its
// token and without its retries.
func (c *Client) Connection() grpc.ClientConnInterface {
	return &sharedConnection{c.core.caller}
}

// Close cancels computations and ends the connections. Calls after that return [ErrClosed]. It can
// be repeated.
func (c *Client) Close() error {
	c.closing.Do(func() {
		liveClients.Add(-1)
		c.core.caller.state.Store(stateClosing)
		cause := closedError()
		c.core.running.close(cause)
		// The leases of what was running are given up, so that other processes need not wait.
		within(partingTime, func() {
			c.core.flights.close(cause)
			c.core.background.close(cause)
		})
		c.core.caller.state.Store(stateClosed)
		c.core.caller.connections.close()
		c.uncounted()
	})
	return nil
}

// Namespace is a logical cache with its own defaults. Handles are cheap; all of one client share
// its connections. It is safe for concurrent use.
type Namespace struct {
	name string
	scope
}

// Name is the name as it was given.
func (n *Namespace) Name() string { return n.name }

// WireName is the name as the server has it.
func (n *Namespace) WireName() string { return n.namespace }

// Cache is a namespace with values of one type.
type Cache[T any] struct {
	*Namespace
	codec Codec[T]
	// codecID is equal for views that read values in the same way.
	codecID any
	// shares: readers of a value of the near cache may have the same one.
	shares bool
}

// For is a handle for a namespace with values of one type, in the format of [Auto].
func For[T any](client *Client, name string, options ...NamespaceOption) (*Cache[T], error) {
	namespace, err := client.Namespace(name, options...)
	if err != nil {
		return nil, err
	}
	return Of[T](namespace), nil
}

// Of is a view of a namespace with values of one type, in the format of [Auto]. Views are cheap.
func Of[T any](namespace *Namespace) *Cache[T] {
	return &Cache[T]{
		Namespace: namespace, codec: autoCodec[T]{}, codecID: reflect.TypeFor[T](),
		shares: namespace.shares(reflect.TypeFor[T]()),
	}
}

// With is a view of a namespace with values that a codec reads and writes.
func With[T any](namespace *Namespace, codec Codec[T]) *Cache[T] {
	var id any = codec
	if !reflect.ValueOf(codec).Comparable() {
		id = new(int)
	}
	return &Cache[T]{
		Namespace: namespace, codec: codec, codecID: id,
		shares: namespace.shares(reflect.TypeFor[T]()),
	}
}

func (n *Namespace) shares(t reflect.Type) bool {
	return n.near != nil && (n.near.options.Shared || isImmutable(t))
}

var timeType = reflect.TypeFor[time.Time]()

// isImmutable reports whether a copy of a value shares nothing that can be changed.
func isImmutable(t reflect.Type) bool {
	if t == timeType {
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if !isImmutable(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Array:
		return isImmutable(t.Elem())
	case reflect.String, reflect.Bool:
		return true
	}
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Complex128
}
