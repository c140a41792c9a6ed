package larder_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	larder "larder.test/clients/go"
	"larder.test/clients/go/lardertest"
)

// User is what the examples cache.
type User struct {
	Name   string `json:"name"`
	Visits int    `json:"visits"`
}

// newClient is larder.New("") in a program; the examples have a fake in the process.
func newClient() (*larder.Client, func()) {
	fake := lardertest.NewFake(lardertest.Config{})
	client, err := fake.New()
	if err != nil {
		log.Fatal(err)
	}
	return client, func() {
		_ = client.Close()
		fake.Close()
	}
}

// TestMain has a fake at LARDER_ENDPOINT for the first example.
func TestMain(m *testing.M) {
	fake := lardertest.NewFake(lardertest.Config{})
	target, err := fake.Listen()
	if err != nil {
		log.Fatal(err)
	}
	_ = os.Setenv("LARDER_ENDPOINT", target)
	code := m.Run()
	fake.Close()
	os.Exit(code)
}

func Example() {
	client, err := larder.New("") // LARDER_ENDPOINT, or 127.0.0.1:50051
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	users, err := larder.For[User](client, "users", larder.TTL(10*time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	load := func(ctx context.Context) (User, error) { return User{Name: "Ada"}, nil }
	for range 2 {
		user, err := users.GetOrFetch(context.Background(), "7", load)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(user.Value.Name, user.Tier)
	}
	// Output:
	// Ada loader
	// Ada store
}

func ExampleFetch() {
	client, done := newClient()
	defer done()
	reports, err := client.Namespace("reports")
	if err != nil {
		log.Fatal(err)
	}
	rows, err := larder.Fetch(context.Background(), reports, "daily",
		func(ctx context.Context) ([]int, error) { return []int{1, 2, 3}, nil },
		larder.TTL(time.Hour), larder.Wait(3*time.Second))
	fmt.Println(rows, err)
	// Output: [1 2 3] <nil>
}

func ExampleCache_Set() {
	client, done := newClient()
	defer done()
	ctx := context.Background()
	users, err := larder.For[User](client, "users")
	if err != nil {
		log.Fatal(err)
	}
	_, err = users.Set(ctx, "1", User{"Ada", 1}, larder.TTL(larder.Forever), larder.Tags("team:7"))
	if err != nil {
		log.Fatal(err)
	}
	write, err := users.Set(ctx, "1", User{"Bob", 0}, larder.IfAbsent())
	fmt.Println(write.Stored, write.Reason, err)

	// Params make several entries of one key.
	_, err = users.Set(ctx, "1", User{"Ada", 2}, larder.Params{"lang": "de"})
	if err != nil {
		log.Fatal(err)
	}
	found, err := users.Get(ctx, "1")
	fmt.Println(found.Outcome, found.Value, found.Tags, err)
	// Output:
	// false CONDITION_NOT_MET <nil>
	// HIT {Ada 1} [team:7] <nil>
}

func ExampleCache_GetOrFetchLoaded() {
	client, done := newClient()
	defer done()
	reports, err := larder.For[[]int](client, "reports")
	if err != nil {
		log.Fatal(err)
	}
	load := func(ctx context.Context) (larder.Loaded[[]int], error) {
		rows := []int{}
		if len(rows) == 0 {
			return larder.NewLoaded(rows, larder.TTL(time.Minute), larder.Tags("sales")), nil
		}
		return larder.NewLoaded(rows, larder.TTL(time.Hour)), nil
	}
	report, err := reports.GetOrFetchLoaded(context.Background(), "daily", load)
	fmt.Println(report.Value, report.Fill.TTL, err)
	// Output: [] 1m0s <nil>
}

func ExampleCache_GetOrFetchMany() {
	client, done := newClient()
	defer done()
	prices, err := larder.For[int](client, "prices")
	if err != nil {
		log.Fatal(err)
	}
	load := func(ctx context.Context, missing []string) (map[string]int, error) {
		found := map[string]int{}
		for _, key := range missing {
			found[key] = len(key)
		}
		return found, nil
	}
	all, err := prices.GetOrFetchMany(context.Background(), []string{"a", "bb"}, load)
	fmt.Println(all["a"].Value, all["bb"].Value, err)
	// Output: 1 2 <nil>
}

func ExampleNamespace_Invalidate() {
	client, done := newClient()
	defer done()
	ctx := context.Background()
	users, err := larder.For[string](client, "users")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := users.Set(ctx, "7:profile", "Ada", larder.Tags("team:7")); err != nil {
		log.Fatal(err)
	}
	_, err = users.Invalidate(ctx, larder.Targets{
		Tags: []string{"team:7"}, Globs: []string{"7:*"}, Keys: []string{"8"},
	})
	if err != nil {
		log.Fatal(err) // Nothing may be invalidated: the call can be repeated.
	}
	found, err := users.Has(ctx, "7:profile")
	fmt.Println(found, err)
	// Output: false <nil>
}

func ExampleNamespace_Increment() {
	client, done := newClient()
	defer done()
	counters, err := client.Namespace("counters")
	if err != nil {
		log.Fatal(err)
	}
	sum, err := counters.Increment(context.Background(), "visits", 2,
		larder.Initial(40), larder.TTL(time.Hour))
	fmt.Println(sum.Value, err)
	// Output: 42 <nil>
}

func ExampleNamespace_Watch() {
	client, done := newClient()
	defer done()
	users, err := larder.For[string](client, "users")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for change, err := range users.Watch(ctx, larder.WithKeys()) {
		if err != nil {
			log.Fatal(err)
		}
		switch change.Kind {
		case larder.ChangeReady:
			fmt.Println("ready")
			if _, err := users.Set(ctx, "7", "Ada"); err != nil {
				log.Fatal(err)
			}
		case larder.ChangeKeys:
			fmt.Println(change.Keys[0].Key)
			return
		}
	}
	// Output:
	// ready
	// 7
}

func ExampleNewCallKeys() {
	keys, err := larder.NewCallKeys(larder.CallKeyOptions{
		Template: "user:{id}", Args: []string{"id", "lang"},
		Defaults: map[string]any{"lang": "en"},
	})
	if err != nil {
		log.Fatal(err)
	}
	key, err := keys.Key(7)
	fmt.Println(key.Key, key.Params, err)
	// Output: user:7 map[lang:"en"] <nil>
}

func Example_errors() {
	client, done := newClient()
	defer done()
	names, err := client.Namespace("names")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := larder.Of[string](names).Set(ctx, "a", "text"); err != nil {
		log.Fatal(err)
	}
	_, err = names.Increment(ctx, "a", 1)
	var failure *larder.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Code, failure.Reason)
	}
	fmt.Println(errors.Is(err, larder.ErrFailedPrecondition))
	// Output:
	// FailedPrecondition NOT_AN_INTEGER
	// true
}
