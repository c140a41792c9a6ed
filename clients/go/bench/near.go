//go:build unix

package main

import (
	"context"
	"fmt"
	"time"

	larder "larder.test/clients/go"
)

// hits is the number of hits between two looks at the clock.
const hits = 1000

// nearHits measures hits of the near cache, which make no call.
func nearHits(turn time.Duration) error {
	_, cache, stop, err := open(nil, larder.NearCache{})
	if err != nil {
		return err
	}
	defer stop()
	ctx := context.Background()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		result, err := cache.Get(ctx, "key1")
		if err != nil {
			return err
		}
		if result.Tier == larder.TierClient {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("the near cache keeps nothing: %v", result)
		}
	}
	calls := func(ctx context.Context) error {
		for range hits {
			if result, err := cache.Get(ctx, "key1"); err != nil || len(result.Value) != 1024 {
				return errMiss
			}
		}
		return nil
	}
	if err := clock(turn); err != nil {
		return err
	}
	for _, parallel := range []int{1, 2} {
		var all []measure
		for range rounds {
			one, err := take(calls, parallel, turn)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		fmt.Printf("hit of the near cache, %d in flight\n", parallel)
		fmt.Printf("  %.0f ns, %.0f ns of CPU (best %.0f), %.2f allocations\n",
			median(all, func(_ int, one measure) float64 {
				return 1e9 * float64(parallel) / (hits * one.rate)
			}),
			median(all, func(_ int, one measure) float64 { return float64(one.cpu) / hits }),
			best(all), median(all, func(_ int, one measure) float64 { return one.allocations / hits }))
	}
	return nil
}

var lastTime time.Time

// clock measures what each hit needs at least: the time, by the steady and by the wall clock.
func clock(turn time.Duration) error {
	var all []measure
	for range rounds {
		one, err := take(func(context.Context) error {
			for range hits {
				lastTime = time.Now()
			}
			return nil
		}, 1, turn)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	fmt.Printf("a look at the clock\n  %.0f ns of CPU (best %.0f)\n",
		median(all, func(_ int, one measure) float64 { return float64(one.cpu) / hits }), best(all))
	return nil
}

func best(all []measure) float64 {
	least := float64(all[0].cpu)
	for _, one := range all {
		least = min(least, float64(one.cpu))
	}
	return least / hits
}
