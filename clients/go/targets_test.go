package larder_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/resolver"

	larder "larder.test/clients/go"
)

// slowConn takes addresses up, the first of them not before it may.
type slowConn struct {
	resolver.ClientConn
	release chan struct{}

	mu    sync.Mutex
	taken [][]resolver.Address
	last  []resolver.Address
}

func (s *slowConn) UpdateState(state resolver.State) error {
	s.mu.Lock()
	s.taken = append(s.taken, state.Addresses)
	first := len(s.taken) == 1
	s.mu.Unlock()
	if first {
		<-s.release
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = state.Addresses
	return nil
}

func (s *slowConn) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken)
}

// TestAddressesArriveInTheirOrder has two that resolve at the same time.
func TestAddressesArriveInTheirOrder(t *testing.T) {
	conn := &slowConn{release: make(chan struct{})}
	publish := larder.PublishAddresses(conn, 2)
	of := func(address string) resolver.State {
		return resolver.State{Addresses: []resolver.Address{{Addr: address}}}
	}
	if err := publish(0, of("a1")); err != nil || conn.calls() != 0 {
		t.Fatal(err, conn.calls(), "calls before each address was tried")
	}
	var all sync.WaitGroup
	all.Go(func() { _ = publish(1, of("b1")) })
	eventually(t, "the first state", func() bool { return conn.calls() == 1 })
	all.Go(func() { _ = publish(0, of("a2")) })
	eventually(t, "the second state, or what waits for its turn", func() bool {
		buffer := make([]byte, 1<<20)
		for _, stack := range strings.Split(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
			if strings.Contains(stack, "[sync.Mutex.Lock") &&
				strings.Contains(stack, "(*addressList).publish") {
				return true
			}
		}
		return conn.calls() == 2
	})
	if count := conn.calls(); count != 1 {
		t.Error("the second state is passed on before the first has arrived")
	}
	close(conn.release)
	all.Wait()
	if len(conn.last) != 2 || conn.last[0].Addr != "a2" {
		t.Error(conn.last)
	}
}
