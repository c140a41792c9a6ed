//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	startTime = 10 * time.Second
	redisLife = 5 * time.Minute
)

// besideRedis compares with go-redis, on the Redis that is also the store of the server. A call to
// Larder has one more hop.
func besideRedis(turn time.Duration) error {
	directory, err := os.MkdirTemp("", "larder-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	socket := filepath.Join(directory, "redis.sock")
	process := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "")
	process.Dir = directory
	if err := process.Start(); err != nil {
		return err
	}
	defer func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		_ = process.Wait()
	}()
	direct := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, PoolSize: inFlight})
	defer func() { _ = direct.Close() }()
	ctx := context.Background()
	for end := time.Now().Add(startTime); direct.Ping(ctx).Err() != nil; {
		if time.Now().After(end) {
			return errors.New("redis-server does not start")
		}
		time.Sleep(10 * time.Millisecond)
	}
	_, cache, stop, err := open([]string{"LARDER_STORE=unix://" + socket})
	if err != nil {
		return err
	}
	defer stop()
	names := keys()
	for _, name := range names {
		if err := direct.Set(ctx, name, value, 0).Err(); err != nil {
			return err
		}
	}
	get := way{"go-redis", func(ctx context.Context) error {
		text, err := direct.Get(ctx, "key1").Result()
		if err == nil && text != value {
			err = errMiss
		}
		return err
	}}
	set := way{"go-redis", func(ctx context.Context) error {
		return direct.Set(ctx, "key1", value, redisLife).Err()
	}}
	mget := way{"go-redis", func(ctx context.Context) error {
		found, err := direct.MGet(ctx, names...).Result()
		if err == nil && len(found) != len(names) {
			err = fmt.Errorf("%d values", len(found))
		}
		return err
	}}
	for _, parallel := range []int{1, inFlight} {
		if err := compare("Get", parallel, turn, get, getOf(cache)); err != nil {
			return err
		}
	}
	if err := compare("Set", inFlight, turn, set, setOf(cache)); err != nil {
		return err
	}
	return compare("GetMany of 100", 4, turn, mget, manyOf(cache, names))
}
