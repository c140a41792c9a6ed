package larder

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
)

// endpoint is where a client connects to.
type endpoint struct {
	// uri is in the syntax of gRPC.
	uri string
	// loopback: all addresses are on this machine.
	loopback bool
}

const listScheme = "larder-addresses"

var targetScheme = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://[^/]*/(.*)$`)

// parseTarget reads `host:port`, `dns:///host:port`, `unix:path`, or several addresses separated by
// commas.
func parseTarget(target string) (endpoint, error) {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return endpoint{uri: target, loopback: true}, nil
	}
	list := target
	scheme := targetScheme.FindStringSubmatch(target)
	if scheme != nil {
		if scheme[1] != "dns" {
			return endpoint{}, wrong("target", "the scheme %s is not supported", scheme[1])
		}
		list = scheme[2]
	}
	addresses := strings.Split(list, ",")
	loopback := true
	for i, address := range addresses {
		addresses[i] = strings.TrimSpace(address)
		host, port, err := net.SplitHostPort(addresses[i])
		if err != nil || host == "" {
			return endpoint{}, wrong("target", "expected host:port, got %q", address)
		}
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return endpoint{}, wrong("target", "%s is not a port", port)
		}
		loopback = loopback && isLoopback(host)
	}
	switch {
	case scheme != nil && len(addresses) == 1:
		return endpoint{uri: target, loopback: loopback}, nil
	case len(addresses) == 1:
		return endpoint{uri: "dns:///" + addresses[0], loopback: loopback}, nil
	}
	uri := listScheme + ":///" + strings.Join(addresses, ",")
	return endpoint{uri: uri, loopback: loopback}, nil
}

func isLoopback(host string) bool {
	name := strings.ToLower(host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.IsLoopback()
}

// listResolver resolves several addresses, each as gRPC would, to one list.
type listResolver struct{}

func (listResolver) Scheme() string { return listScheme }

// OverrideAuthority is the name in the certificates of all addresses: that of the first.
func (listResolver) OverrideAuthority(target resolver.Target) string {
	first, _, _ := strings.Cut(target.Endpoint(), ",")
	return first
}

func (listResolver) Build(
	target resolver.Target, cc resolver.ClientConn, options resolver.BuildOptions,
) (resolver.Resolver, error) {
	addresses := strings.Split(target.Endpoint(), ",")
	list := &addressList{
		cc: cc, found: make([]*resolver.State, len(addresses)),
		failed: make([]error, len(addresses)),
	}
	dns := resolver.Get("dns")
	for i, address := range addresses {
		one := target
		one.URL.Scheme, one.URL.Path = "dns", "/"+address
		child, err := dns.Build(one, &listMember{ClientConn: cc, list: list, index: i}, options)
		if err != nil {
			list.Close()
			return nil, err
		}
		list.mu.Lock()
		list.children = append(list.children, child)
		list.mu.Unlock()
	}
	return list, nil
}

// addressList merges what the addresses resolve to.
type addressList struct {
	cc resolver.ClientConn
	// publishing keeps what is passed on in its order.
	publishing sync.Mutex
	mu         sync.Mutex
	children   []resolver.Resolver
	found      []*resolver.State
	failed     []error
}

// publish passes on what there is, once each address was tried.
func (l *addressList) publish(index int, state *resolver.State, failure error) error {
	l.publishing.Lock()
	defer l.publishing.Unlock()
	l.mu.Lock()
	if state != nil {
		l.found[index] = state
	}
	l.failed[index] = failure
	var all resolver.State
	complete := true
	for i, each := range l.found {
		complete = complete && (each != nil || l.failed[i] != nil)
		if each != nil {
			all.Endpoints = append(all.Endpoints, each.Endpoints...)
			all.Addresses = append(all.Addresses, each.Addresses...)
		}
	}
	errs := errors.Join(l.failed...)
	l.mu.Unlock()
	switch {
	case !complete:
		return nil
	case len(all.Endpoints)+len(all.Addresses) == 0:
		l.cc.ReportError(errs)
		return nil
	}
	return l.cc.UpdateState(all)
}

func (l *addressList) each(do func(resolver.Resolver)) {
	l.mu.Lock()
	children := l.children
	l.mu.Unlock()
	for _, child := range children {
		do(child)
	}
}

func (l *addressList) ResolveNow(options resolver.ResolveNowOptions) {
	l.each(func(child resolver.Resolver) { child.ResolveNow(options) })
}

func (l *addressList) Close() { l.each(resolver.Resolver.Close) }

// listMember receives what one address resolves to.
type listMember struct {
	resolver.ClientConn
	list  *addressList
	index int
}

func (m *listMember) UpdateState(state resolver.State) error {
	return m.list.publish(m.index, &state, nil)
}

func (m *listMember) ReportError(err error) {
	_ = m.list.publish(m.index, nil, err)
}

func (m *listMember) ParseServiceConfig(text string) *serviceconfig.ParseResult {
	return m.ClientConn.ParseServiceConfig(text)
}
