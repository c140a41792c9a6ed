package conformance

import (
	"slices"
	"strings"
	"time"

	larder "larder.test/clients/go"
)

// RealFeatures are those of the real server.
var RealFeatures = []string{"server", "proxy", "gateway", "calls", "pass_on"}

// RealServer is the real server, with what the control program offers.
type RealServer struct {
	control  *Control
	accepted float64
}

// NewRealServer clears what a former case has left.
func NewRealServer(control *Control, needs []string) (*RealServer, error) {
	server := &RealServer{control: control}
	observed := func(need string) bool {
		return need == "calls" || need == "gateway" || need == "proxy"
	}
	if !slices.ContainsFunc(needs, observed) {
		return server, nil
	}
	if err := control.Clear(); err != nil {
		return nil, err
	}
	answer, err := control.Do("connections", nil)
	if err != nil {
		return nil, err
	}
	server.accepted, _ = answer["accepted"].(float64)
	return server, nil
}

// Client makes a client of an address such as `gateway`, or of a target with such names.
func (s *RealServer) Client(
	via, target string, options []larder.Option,
) (*larder.Client, error) {
	if target == "" {
		target = s.control.Addresses[via]
	}
	for name, address := range s.control.Addresses {
		target = strings.ReplaceAll(target, "{"+name+"}", address)
	}
	return larder.New(target, options...)
}

// Advance lets real time pass: the server's clock cannot be set.
func (s *RealServer) Advance(d time.Duration) { time.Sleep(d) }

// Do is a command of the control program. Connections are those since the begin of the case.
func (s *RealServer) Do(command string, args Fields) (Fields, error) {
	answer, err := s.control.Do(command, args)
	if command == "connections" && err == nil {
		answer["accepted"] = answer["accepted"].(float64) - s.accepted
	}
	return answer, err
}

// SetState stops, starts, pauses or resumes the server.
func (s *RealServer) SetState(state string) error { return s.control.Server(state) }

// Restore lets the server run again.
func (s *RealServer) Restore() error { return s.control.Restore() }
