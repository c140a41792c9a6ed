//go:build unix

// Bench measures the client beside bare stubs on the same server, and beside go-redis on the same
// Redis. The ways take turns, and the median counts. On a machine with other work the rates mean
// little: the time of the processor per call is then what compares.
//
//	LARDER_BIN=target/release/larder go run . [stubs|redis|near] [SECONDS]
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	larder "larder.test/clients/go"
	"larder.test/clients/go/lardertest"
)

const (
	many     = 100
	inFlight = 32
)

var value = strings.Repeat("x", 1024)

func keys() []string {
	names := make([]string, many)
	for i := range names {
		names[i] = fmt.Sprint("key", i)
	}
	return names
}

func values() map[string]string {
	all := map[string]string{}
	for _, key := range keys() {
		all[key] = value
	}
	return all
}

func main() {
	seconds := 1.0
	parts := []string{"stubs", "near", "redis"}
	for _, argument := range os.Args[1:] {
		if number, err := strconv.ParseFloat(argument, 64); err == nil && number > 0 {
			seconds = number
		} else if slices.Contains(parts, argument) {
			parts = []string{argument}
		} else {
			fmt.Fprintln(os.Stderr, "usage: bench [stubs|near|redis] [SECONDS]")
			os.Exit(2)
		}
	}
	turn := time.Duration(seconds * float64(time.Second))
	for _, part := range parts {
		run := map[string]func(time.Duration) error{
			"stubs": stubs, "near": nearHits, "redis": besideRedis,
		}[part]
		if err := run(turn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// open starts a server, and makes a handle with the values of the measurements in it.
func open(
	environment []string, options ...larder.NamespaceOption,
) (*lardertest.Server, *larder.Cache[string], func(), error) {
	ctx := context.Background()
	server, err := lardertest.StartServer(ctx, lardertest.ServerOptions{Environment: environment})
	if err != nil {
		return nil, nil, nil, err
	}
	client, err := larder.New(server.Target,
		larder.WithPreset(larder.PresetLocal), larder.WithOnError(larder.Raise))
	if err != nil {
		server.Stop()
		return nil, nil, nil, err
	}
	stop := func() {
		_ = client.Close()
		server.Stop()
	}
	cache, err := larder.For[string](client, "bench", options...)
	if err == nil {
		_, err = cache.SetMany(ctx, values())
	}
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	return server, cache, stop, nil
}
