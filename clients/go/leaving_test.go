package larder_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	larder "larder.test/clients/go"
	"larder.test/clients/go/lardertest"
)

// waiting reports whether so many calls wait for a computation.
func waiting(count int) func() bool {
	return func() bool {
		buffer := make([]byte, 1<<20)
		stacks := string(buffer[:runtime.Stack(buffer, true)])
		return strings.Count(stacks, "(*flights).wait(") == count
	}
}

// TestACallerThatLeavesWhileItAsks: the question goes with it, and those that joined ask another.
func TestACallerThatLeavesWhileItAsks(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache := newCache[string](t, client)
	must[larder.Write](t)(cache.Set(context.Background(), "k", "v"))
	fake.Delay(time.Hour)
	ctx, leave := context.WithCancel(context.Background())
	errs, second := make(chan error, 1), make(chan larder.Result[string], 1)
	go func() {
		_, err := cache.GetOrFetch(ctx, "k", nil)
		errs <- err
	}()
	asked := func(count int) func() bool {
		return func() bool { return len(fake.Calls("GetOrFetch")) == count }
	}
	eventually(t, "the question", asked(1))
	go func() {
		result, err := cache.GetOrFetch(context.Background(), "k", nil)
		if err != nil {
			t.Error(err)
		}
		second <- result
	}()
	eventually(t, "the second has joined", waiting(1))
	leave()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, "another question", asked(2))
	fake.Recover()
	// What joined a read asks for itself.
	if result := <-second; result.Value != "v" || !asked(3)() {
		t.Error(result, len(fake.Calls("GetOrFetch")))
	}
	fake.Delay(time.Hour)
	alone, leave := context.WithCancel(context.Background())
	go func() {
		_, err := cache.GetOrFetch(alone, "k", nil)
		errs <- err
	}()
	eventually(t, "the question of the third", asked(4))
	leave()
	if err := <-errs; !errors.Is(err, context.Canceled) || !asked(4)() {
		t.Error(err, len(fake.Calls("GetOrFetch")))
	}
}
