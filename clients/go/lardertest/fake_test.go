package lardertest_test

import (
	"context"
	"testing"

	larder "larder.test/clients/go"
	"larder.test/clients/go/lardertest"
)

func TestTheEnvironmentIsNotForClientsOfAFake(t *testing.T) {
	for _, name := range []string{"CA_FILE", "CERT_FILE", "KEY_FILE"} {
		t.Setenv("LARDER_"+name, "/nowhere/"+name)
	}
	t.Setenv("LARDER_TOKEN", "secret")
	options := make([]larder.Option, 0, 8)
	fake := lardertest.NewFake(lardertest.Config{})
	t.Cleanup(fake.Close)
	for _, token := range []string{"", "own"} {
		if token != "" {
			options = append(options, larder.WithToken(token))
		}
		client, err := fake.New(append(options, larder.WithOnError(larder.Raise))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		cache, err := larder.For[string](client, "users")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cache.Get(context.Background(), "k"); err != nil {
			t.Fatal(err)
		}
		calls := fake.Calls("Get")
		sent := calls[len(calls)-1].Metadata.Get("authorization")
		if token == "" && len(sent) != 0 {
			t.Error(sent)
		}
		if token != "" && (len(sent) != 1 || sent[0] != "Bearer own") {
			t.Error(token, sent)
		}
	}
}

// TestOptionsOfTheCallerAreNotChanged has room behind the options of a program.
func TestOptionsOfTheCallerAreNotChanged(t *testing.T) {
	fake := lardertest.NewFake(lardertest.Config{})
	t.Cleanup(fake.Close)
	all := []larder.Option{larder.WithPreset(larder.PresetLocal), nil}
	client, err := fake.New(all[:1]...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if all[1] != nil {
		t.Error("the next option is another one")
	}
}
