// The Go worker of the polyglot test: clients/fleet/README.md has the protocol.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"sync"
	"time"

	larder "larder.test/clients/go"
)

// command is a line of the input. Each command has some of the fields.
type command struct {
	Do      string
	Preset  string
	Calls   []call
	Values  []json.RawMessage
	Key     string
	Callers int
	Seconds float64
	Lead    bool
	Kind    string
	Tag     string
	Value   string
	Old     string
	New     *string
	Gone    int
	Pause   float64
}

var printing sync.Mutex

// answer writes one line.
func answer(value any) {
	printing.Lock()
	defer printing.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		log.Fatal(err)
	}
}

// worker does the commands.
type worker struct {
	client  *larder.Client
	entries *larder.Cache[any]
	near    *larder.Cache[string]
	load    *load
}

func (w *worker) do(c command) (any, error) {
	switch c.Do {
	case "connect":
		return w.connect(larder.Preset(c.Preset))
	case "keys":
		return keysOf(c.Calls)
	case "write":
		return w.write(c.Calls, c.Values)
	case "read":
		return w.read(c.Calls)
	case "stampede":
		return w.stampede(c)
	case "change":
		return w.change(c)
	case "follow":
		return w.follow(c)
	case "load":
		load, err := begin(w.client, c.Callers, seconds(c.Pause))
		w.load = load
		return "loading", err
	case "counts":
		return w.load.snapshot(), nil
	case "end":
		return w.load.end(), nil
	case "close":
		return "closed", w.client.Close()
	}
	return nil, fmt.Errorf("there is no command %q", c.Do)
}

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }

// connect makes a client with this preset, in place of the one before.
func (w *worker) connect(preset larder.Preset) (any, error) {
	if w.client != nil {
		if err := w.client.Close(); err != nil {
			return nil, err
		}
	}
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	client, err := larder.New("", larder.WithPreset(preset), larder.WithLogger(silent),
		larder.WithConnectTimeout(20*time.Second))
	if err != nil {
		return nil, err
	}
	w.client = client
	if w.entries, err = larder.For[any](client, namespace); err != nil {
		return nil, err
	}
	w.near, err = larder.For[string](client, namespace, larder.NearCache{})
	if err != nil {
		return nil, err
	}
	return "connected", client.Connect(context.Background())
}

func main() {
	log.SetFlags(0)
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 1<<20)
	var w worker
	for input.Scan() {
		var c command
		if err := json.Unmarshal(input.Bytes(), &c); err != nil {
			log.Fatal(err)
		}
		result, err := w.do(c)
		if err != nil {
			log.Fatalf("%s: %v", c.Do, err)
		}
		answer(result)
		if c.Do == "close" {
			return
		}
	}
	if err := input.Err(); err != nil {
		log.Fatal(err)
	}
}
