package larder_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	larder "larder.test/clients/go"
	"larder.test/clients/go/lardertest"
)

func Example_outage() {
	client, err := larder.New("127.0.0.1:1", larder.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	users, err := larder.For[string](client, "users")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	found, err := users.Get(ctx, "7")
	fmt.Println(found.Outcome, found.Degraded, err)
	load := func(ctx context.Context) (string, error) { return "from the database", nil }
	user, err := users.GetOrFetch(ctx, "7", load)
	fmt.Println(user.Value, user.Fill.Reason, err)
	_, err = users.Delete(ctx, "7")
	fmt.Println(errors.Is(err, larder.ErrUnavailable))
	// Output:
	// MISS true <nil>
	// from the database UNAVAILABLE <nil>
	// true
}

func ExampleNearCache() {
	client, done := newClient()
	defer done()
	flags, err := larder.For[bool](client, "flags", larder.NearCache{MaxEntries: 1000})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := flags.Set(ctx, "dark", true); err != nil {
		log.Fatal(err)
	}
	for {
		dark, err := flags.Get(ctx, "dark")
		if err != nil {
			log.Fatal(err)
		}
		if dark.Tier == larder.TierClient { // once the stream of changes is ready
			fmt.Println(dark.Value)
			return
		}
	}
	// Output: true
}

func ExampleNew() {
	client, err := larder.New(
		os.Getenv("LARDER_ENDPOINT"),            // host:port, dns:///host:port, unix:path, a:1,b:2
		larder.WithPreset(larder.PresetService), // or Local, LowLatency, Lambda
		larder.WithCallTimeout(300*time.Millisecond),
		larder.WithSchemaVersion("v7"), // releases with another one do not read each other's values
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(client.Counters())
	// Output: map[]
}

// TestUsersOfAnOutage is the example of the fake in the README.
func TestUsersOfAnOutage(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{
		Namespaces: map[string]lardertest.Namespace{
			"users": {StaleWhileRevalidate: time.Minute},
		},
	})
	users, err := larder.For[string](client, "users")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if _, err := users.Set(ctx, "7", "Ada", larder.TTL(5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	fake.Advance(330 * time.Second)
	if user, err := users.Get(ctx, "7"); err != nil || user.Outcome != larder.Stale {
		t.Fatal(user, err)
	}
	fake.Fail(lardertest.Failure{Code: codes.Unavailable, Methods: []string{"Get"}})
	if user, err := users.Get(ctx, "7"); err != nil || !user.Degraded {
		t.Fatal(user, err)
	}
	fake.Recover()
}

// plainLines are lines without their indentation.
func plainLines(text string) string {
	var plain strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			plain.WriteString(line + "\n")
		}
	}
	return plain.String()
}

// TestTheReadmeShowsTheExamples: each block of Go in the README is a part of an example that runs.
func TestTheReadmeShowsTheExamples(t *testing.T) {
	examples := ""
	for _, file := range []string{"example_test.go", "readme_example_test.go"} {
		examples += plainLines(string(must[[]byte](t)(os.ReadFile(file))))
	}
	readme := must[[]byte](t)(os.ReadFile("README.md"))
	shown := 0
	for i, block := range strings.Split(string(readme), "```") {
		code, isGo := strings.CutPrefix(block, "go\n")
		if i%2 == 0 || !isGo {
			continue
		}
		shown++
		if plain := plainLines(code); !strings.Contains(examples, plain) {
			t.Errorf("in no example:\n%s", plain)
		}
	}
	if shown < 12 {
		t.Errorf("only %d blocks of Go", shown)
	}
}
