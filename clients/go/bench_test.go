//go:build unix

package larder_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
	"larder.test/clients/go/lardertest"
)

// benchmark is a cache with a value of 1 KiB.
func benchmark[T any](b *testing.B, value T, options ...larder.NamespaceOption) *bench[T] {
	b.Helper()
	server := lardertest.RunServer(b, lardertest.ServerOptions{})
	client, err := larder.New(server.Target, larder.WithPreset(larder.PresetLocal))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	cache, err := larder.For[T](client, "bench", options...)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := cache.Set(context.Background(), "k", value); err != nil {
		b.Fatal(err)
	}
	for len(options) > 0 {
		result, err := cache.Get(context.Background(), "k")
		if err != nil {
			b.Fatal(err)
		}
		if result.Tier == larder.TierClient {
			break
		}
	}
	b.ReportAllocs()
	begun := cpuTime(b)
	b.Cleanup(func() {
		b.ReportMetric(float64(cpuTime(b)-begun)/float64(b.N), "cpu-ns/op")
	})
	b.ResetTimer()
	return &bench[T]{cache, server.Target}
}

// bench is a cache with the address of its server.
type bench[T any] struct {
	*larder.Cache[T]
	target string
}

// cpuTime is that of this process: on a machine with other work, the time of a read means little.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func get[T any](b *testing.B, cache *bench[T]) {
	ctx := context.Background()
	for b.Loop() {
		if result, err := cache.Get(ctx, "k"); err != nil || !result.Found() {
			b.Fatal(result, err)
		}
	}
}

// record is a struct that has to be decoded for each read, unless it is shared.
type record struct {
	Name string
	Tags []string
}

var (
	text1KiB   = strings.Repeat("x", 1024)
	record1KiB = record{Name: strings.Repeat("x", 960), Tags: []string{"a", "b", "c"}}
)

func BenchmarkNearHitOfText(b *testing.B) { get(b, benchmark(b, text1KiB, larder.NearCache{})) }

func BenchmarkNearHitOfBytes(b *testing.B) {
	get(b, benchmark(b, []byte(text1KiB), larder.NearCache{}))
}

func BenchmarkNearHitOfSharedBytes(b *testing.B) {
	get(b, benchmark(b, []byte(text1KiB), larder.NearCache{Shared: true}))
}

func BenchmarkNearHitOfARecord(b *testing.B) {
	get(b, benchmark(b, record1KiB, larder.NearCache{}))
}

func BenchmarkNearHitOfASharedRecord(b *testing.B) {
	get(b, benchmark(b, record1KiB, larder.NearCache{Shared: true}))
}

func BenchmarkNearHitInParallel(b *testing.B) {
	cache := benchmark(b, text1KiB, larder.NearCache{})
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if result, err := cache.Get(ctx, "k"); err != nil || !result.Found() {
				b.Error(result, err)
				return
			}
		}
	})
}

func BenchmarkGet(b *testing.B) { get(b, benchmark(b, text1KiB)) }

// BenchmarkBareStub is the same call without the library.
func BenchmarkBareStub(b *testing.B) {
	cache := benchmark(b, text1KiB)
	conn, err := grpc.NewClient(
		cache.target, grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stub, ctx := larderpb.NewCacheServiceClient(conn), context.Background()
	for b.Loop() {
		request := &larderpb.GetRequest{Namespace: "bench", Key: "k"}
		if _, err := stub.Get(ctx, request); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetInParallel(b *testing.B) {
	cache := benchmark(b, text1KiB)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if result, err := cache.Get(ctx, "k"); err != nil || !result.Found() {
				b.Error(result, err)
				return
			}
		}
	})
}
