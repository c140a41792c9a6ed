package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
	"larder.test/clients/go/lardertest"
)

// FakeFeatures are those of the fake.
var FakeFeatures = []string{"server", "calls", "pass_on"}

// pausedDelay is that of the calls of a paused server: longer than all deadlines.
const pausedDelay = time.Hour

// FakeServer is the fake as the server of a case.
type FakeServer struct{ fake *lardertest.Fake }

func settings(given map[string]float64) lardertest.Namespace {
	ms := func(name string) time.Duration {
		return time.Duration(given[name] * float64(time.Millisecond))
	}
	return lardertest.Namespace{
		TTL: ms("ttl"), MaxTTL: ms("max_ttl"),
		StaleWhileRevalidate: ms("stale_while_revalidate"), StaleIfError: ms("stale_if_error"),
		LeaseTTL: ms("lease_ttl"), LeaseWait: ms("lease_wait"),
		AbandonBackoff: ms("abandon_backoff"), MaxValueBytes: int(given["max_value_bytes"]),
	}
}

// event selects targets of the namespace `events` by the attribute `user`.
func event(
	target func(user string) *larderpb.Target,
) func(map[string]string) ([]*larderpb.Target, error) {
	return func(attributes map[string]string) ([]*larderpb.Target, error) {
		user, ok := attributes["user"]
		if !ok {
			return nil, errors.New("has no user")
		}
		return []*larderpb.Target{target(user)}, nil
	}
}

// NewFakeServer starts a fake with the configuration of the suite.
func NewFakeServer(configuration map[string]map[string]float64) *FakeServer {
	config := lardertest.Config{
		Defaults: settings(configuration[""]), Namespaces: map[string]lardertest.Namespace{},
		Events: map[string]func(map[string]string) ([]*larderpb.Target, error){
			"user_changed": event(func(user string) *larderpb.Target {
				return &larderpb.Target{Target: &larderpb.Target_Tags{Tags: &larderpb.TagTarget{
					Namespace: "events", Tags: []string{"user-" + user},
				}}}
			}),
			"user_moved": event(func(user string) *larderpb.Target {
				pattern := &larderpb.PatternTarget{Namespace: "events", Glob: user + ":*"}
				return &larderpb.Target{Target: &larderpb.Target_Pattern{Pattern: pattern}}
			}),
		},
	}
	for name, own := range configuration {
		config.Namespaces[name] = settings(own)
	}
	return &FakeServer{fake: lardertest.NewFake(config)}
}

// Close ends the fake.
func (s *FakeServer) Close() { s.fake.Close() }

// Client makes a client of the fake, or of a target that a case names.
func (s *FakeServer) Client(
	_, target string, options []larder.Option,
) (*larder.Client, error) {
	if target != "" {
		return larder.New(target, options...)
	}
	return s.fake.New(options...)
}

// Advance moves the clock of the fake, and lets callers run.
func (s *FakeServer) Advance(d time.Duration) {
	s.fake.Advance(d)
	time.Sleep(pause)
}

// SetState stops, starts, pauses or resumes the fake.
func (s *FakeServer) SetState(state string) error {
	s.fake.Recover()
	switch state {
	case "stop":
		s.fake.Fail(lardertest.Failure{Code: codes.Unavailable})
		s.fake.BreakWatches()
	case "pause":
		s.fake.Delay(pausedDelay)
	}
	return nil
}

// Restore ends failures.
func (s *FakeServer) Restore() error {
	s.fake.Recover()
	return nil
}

// Do answers for the control program: the calls only.
func (s *FakeServer) Do(command string, args Fields) (Fields, error) {
	if command != "calls" {
		return nil, fmt.Errorf("the fake has no %s", command)
	}
	method, _ := args["method"].(string)
	made := []any{}
	for _, call := range s.fake.Calls(method) {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(call.Request)
		if err != nil {
			return nil, err
		}
		var request any
		if err := json.Unmarshal(text, &request); err != nil {
			return nil, err
		}
		metadata := Fields{}
		for name, values := range call.Metadata {
			metadata[name] = list(values)
		}
		made = append(made, Fields{
			"method": call.Method, "request": request, "metadata": metadata,
			"timeout_ms": float64(call.Timeout.Milliseconds()),
		})
	}
	return Fields{"calls": made, "count": int64(len(made))}, nil
}
