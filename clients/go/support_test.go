package larder_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	larder "larder.test/clients/go"
)

const deadline = 10 * time.Second

// eventually waits for a state that must come.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newCache[T any](
	t *testing.T, client *larder.Client, options ...larder.NamespaceOption,
) *larder.Cache[T] {
	t.Helper()
	return must[*larder.Cache[T]](t)(larder.For[T](client, "test", options...))
}

// proxy forwards connections, and can let those that are open fall silent.
type proxy struct {
	listener net.Listener

	mu       sync.Mutex
	accepted int
	silent   []chan struct{}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{listener: must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = p.listener.Close()
	})
	go func() {
		for {
			from, err := p.listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				_ = from.Close()
				continue
			}
			p.forward(ctx, from, to)
		}
	}()
	return p
}

func (p *proxy) forward(ctx context.Context, from, to net.Conn) {
	silent := make(chan struct{})
	p.mu.Lock()
	p.accepted++
	p.silent = append(p.silent, silent)
	p.mu.Unlock()
	pipe := func(from, to net.Conn) {
		defer func() { _, _ = from.Close(), to.Close() }()
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			select {
			case <-silent:
				<-ctx.Done()
				return
			default:
			}
			if err != nil {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go pipe(from, to)
	go pipe(to, from)
}

// silence lets the connections of now be open and dead.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, each := range p.silent {
		close(each)
	}
	p.silent = nil
}

func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

var _ io.Closer = (*larder.Client)(nil)
