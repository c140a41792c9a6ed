package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	larder "larder.test/clients/go"
)

// Place is the server under a case.
type Place interface {
	// Client makes a client that reaches the server.
	Client(via, target string, options []larder.Option) (*larder.Client, error)
	// Advance lets time pass.
	Advance(d time.Duration)
	// Do is a command of the control program.
	Do(command string, args Fields) (Fields, error)
	// SetState stops, starts, pauses or resumes the server.
	SetState(state string) error
	Restore() error
}

// Traced makes calls in a span.
type Traced func(ctx context.Context) (inSpan context.Context, traceID string, end func())

// Run is one case on one kind of server.
type Run struct {
	test   *Case
	place  Place
	traced Traced
	// options are those of all clients.
	options []larder.Option

	mu      sync.Mutex
	bound   bound
	clients map[string]*larder.Client
	handles map[string]*larder.Cache[any]
	tasks   map[string]*task
	watches map[string]*watching
	funcs   map[string]*functions
	gates   map[string]*gate
	loaders map[string]*countedLoader
}

// task is a call beside the steps.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
	result any
	err    error
}

const (
	// stateLimit is the time for a state that must come, and pause that between two looks.
	stateLimit = 10 * time.Second
	pause      = 20 * time.Millisecond
	stepLimit  = time.Minute
)

// NewRun prepares a case.
func NewRun(test *Case, place Place, traced Traced, options ...larder.Option) *Run {
	run := &Run{
		test: test, place: place, traced: traced, options: options, bound: bound{},
		clients: map[string]*larder.Client{}, handles: map[string]*larder.Cache[any]{},
		tasks: map[string]*task{}, watches: map[string]*watching{},
		funcs: map[string]*functions{}, gates: map[string]*gate{},
		loaders: map[string]*countedLoader{},
	}
	for name, spec := range test.Loaders {
		if named, ok := spec["gate"].(string); ok && run.gates[named] == nil {
			run.gates[named] = newGate()
		}
		named, _ := spec["gate"].(string)
		run.loaders[name] = &countedLoader{spec: spec, gate: run.gates[named]}
	}
	return run
}

// Run runs all steps. The error names the step that is not as expected.
func (r *Run) Run() (err error) {
	defer func() {
		err = errors.Join(err, r.end())
	}()
	if err := r.open(); err != nil {
		return err
	}
	for i, step := range r.test.Steps {
		if err := r.step(step); err != nil {
			text, _ := json.Marshal(step)
			return fmt.Errorf("%s: step %d: %s: %w", r.test.ID, i+1, text, err)
		}
	}
	return nil
}

func (r *Run) end() error {
	for _, gate := range r.gates {
		gate.open()
	}
	for _, task := range r.tasks {
		task.cancel()
		<-task.done
	}
	err := r.place.Restore()
	for _, client := range r.clients {
		err = errors.Join(err, client.Close())
	}
	for _, watch := range r.watches {
		watch.end()
	}
	return err
}

func (r *Run) open() (err error) {
	clients := r.test.Clients
	if len(clients) == 0 {
		clients = map[string]Fields{"a": {}}
	}
	for name, options := range clients {
		if r.clients[name], err = r.newClient(options); err != nil {
			return err
		}
	}
	if r.test.Namespace == "" {
		// The error of the name is that of the step that uses the handle.
		return nil
	}
	for name := range clients {
		if _, err := r.newHandle(name, Fields{}); err != nil {
			return err
		}
	}
	for name, settings := range r.test.Handles {
		if _, err := r.newHandle(name, settings); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) newClient(given Fields) (*larder.Client, error) {
	options := append([]larder.Option{
		larder.WithPreset(larder.PresetLocal),
		larder.WithLogger(slog.New(slog.DiscardHandler)),
	}, r.options...)
	target := ""
	for name, value := range expand(given, r.bound).(Fields) {
		var option larder.Option
		switch name {
		case "target":
			target = value.(string)
			continue
		case "preset":
			option = larder.WithPreset(larder.Preset(value.(string)))
		case "on_error":
			option = larder.WithOnError(larder.OnError(value.(string)))
		case "call_timeout":
			option = larder.WithCallTimeout(durationOr(value, 0))
		case "connect_timeout":
			option = larder.WithConnectTimeout(durationOr(value, 0))
		case "namespace_prefix":
			option = larder.WithNamespacePrefix(value.(string))
		case "schema_version":
			option = larder.WithSchemaVersion(value.(string))
		case "token":
			if provider, ok := value.(func() any); ok {
				option = larder.WithTokenProvider(func(context.Context) (larder.Token, error) {
					return larder.Token{Value: provider().(string)}, nil
				})
			} else {
				option = larder.WithToken(value.(string))
			}
		default:
			return nil, fmt.Errorf("no option %s", name)
		}
		options = append(options, option)
	}
	via := r.test.Via
	if via == "" {
		via = "server"
	}
	return r.place.Client(via, target, options)
}

func (r *Run) newHandle(name string, settings Fields) (*larder.Cache[any], error) {
	owner := "a"
	if r.clients[name] != nil {
		owner = name
	}
	namespace := r.test.Namespace
	if namespace == nil {
		namespace = strings.Replace(r.test.ID, "/", "-", 1)
	}
	var options []larder.NamespaceOption
	for name, value := range settings {
		switch name {
		case "client":
			owner = value.(string)
		case "namespace":
			namespace = value
		case "ttl":
			options = append(options, larder.TTL(durationOr(value, 0)))
		case "tags":
			options = append(options, larder.Tags(texts(value.([]any))...))
		case "on_error":
			options = append(options, larder.OnError(value.(string)))
		case "near_cache":
			options = append(options, larder.NearCache{})
		default:
			return nil, fmt.Errorf("no setting %s", name)
		}
	}
	text := expand(namespace, r.bound).(string)
	made, err := larder.For[any](r.clients[owner], text, options...)
	if err != nil {
		return nil, err
	}
	r.handles[name] = made
	return made, nil
}

func (r *Run) handle(name string) (*larder.Cache[any], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if found := r.handles[name]; found != nil {
		return found, nil
	}
	return r.newHandle(name, Fields{})
}

func handleName(step Fields) string {
	if name, ok := step["handle"].(string); ok {
		return name
	}
	return "a"
}

// perform makes the calls of a step.
func (r *Run) perform(ctx context.Context, step Fields) (any, error) {
	if name, ok := step["traced"].(string); ok {
		inSpan, traceID, end := r.traced(ctx)
		defer end()
		r.bound[name] = traceID
		ctx = inSpan
	}
	copies, ok := step["copies"].(int64)
	if !ok {
		return r.one(ctx, step)
	}
	results, errs := make([]any, copies), make([]error, copies)
	var all sync.WaitGroup
	for i := range copies {
		all.Go(func() { results[i], errs[i] = r.one(ctx, step) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (r *Run) one(ctx context.Context, step Fields) (any, error) {
	name, args := handleName(step), Fields{}
	if given, ok := step["args"].(Fields); ok {
		args = expandArgs(given, r.bound)
	}
	switch step["do"] {
	case "connect":
		return Fields{}, r.clients[name].Connect(ctx)
	case "close":
		return Fields{}, r.clients[name].Close()
	case "new_client":
		client, err := r.newClient(args)
		if err == nil {
			err = client.Close()
		}
		return Fields{}, err
	}
	if loader, ok := args["loader"].(string); ok {
		args["loader"] = r.loaders[loader]
	}
	on, err := r.handle(name)
	if err != nil {
		return nil, err
	}
	if step["do"] == "call" {
		r.mu.Lock()
		if r.funcs[name] == nil {
			r.funcs[name] = newFunctions(on)
		}
		called := r.funcs[name]
		r.mu.Unlock()
		return called.call(ctx, args)
	}
	options, err := optionsOf(args)
	if err != nil {
		return nil, err
	}
	return calls[step["do"].(string)](ctx, on, args, options)
}

// expandArgs expands each argument by itself: a map of arguments is no tagged form.
func expandArgs(given Fields, b bound) Fields {
	args := make(Fields, len(given))
	for name, value := range given {
		args[name] = expand(value, b)
	}
	return args
}
