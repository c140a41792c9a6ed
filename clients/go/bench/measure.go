//go:build unix

package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const rounds = 7

// measure is the mean of many calls.
type measure struct {
	// rate is calls per second, cpu the time of the processor of this process per call.
	rate        float64
	cpu         time.Duration
	allocations float64
}

// way is one of the ways to make a call.
type way struct {
	name string
	call func(context.Context) error
}

func cpuTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// take makes calls with so many in flight.
func take(call func(context.Context) error, parallel int, turn time.Duration) (measure, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, begun := cpuTime(), time.Now()
	var calls atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			ctx, count := context.Background(), int64(0)
			for ; time.Since(begun) < turn; count++ {
				if err := call(ctx); err != nil {
					failed.Store(&err)
					return
				}
			}
			calls.Add(count)
		})
	}
	all.Wait()
	took, used := time.Since(begun), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	if err := failed.Load(); err != nil {
		return measure{}, *err
	}
	count := float64(calls.Load())
	return measure{
		rate: count / took.Seconds(), cpu: time.Duration(float64(used) / count),
		allocations: float64(after.Mallocs-before.Mallocs) / count,
	}, nil
}

// compare prints the medians of all ways, and the ratio of each to the first. The ratio is that of
// the rounds, so that work of others on the machine hits both sides.
func compare(title string, parallel int, turn time.Duration, ways ...way) error {
	measures := make([][]measure, len(ways))
	for round := range rounds + 1 {
		for i, each := range ways {
			one, err := take(each.call, parallel, turn)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", title, each.name, err)
			}
			if round > 0 { // The first is for caches and connections to warm up.
				measures[i] = append(measures[i], one)
			}
		}
	}
	fmt.Printf("%s, %d in flight\n", title, parallel)
	for i, each := range ways {
		ratio := median(measures[i], func(j int, one measure) float64 {
			return one.rate / measures[0][j].rate
		})
		ratioOfCPU := median(measures[i], func(j int, one measure) float64 {
			return float64(measures[0][j].cpu) / float64(one.cpu)
		})
		fmt.Printf("  %-14s %9.0f/s  %.2f  %8.2f us of CPU  %.2f  %6.1f allocations\n", each.name,
			median(measures[i], func(_ int, one measure) float64 { return one.rate }), ratio,
			median(measures[i], func(_ int, one measure) float64 {
				return float64(one.cpu) / float64(time.Microsecond)
			}), ratioOfCPU,
			median(measures[i], func(_ int, one measure) float64 { return one.allocations }))
	}
	return nil
}

func median[E any, V cmp.Ordered](list []E, of func(int, E) V) V {
	found := make([]V, len(list))
	for i, each := range list {
		found[i] = of(i, each)
	}
	slices.Sort(found)
	return found[len(found)/2]
}
