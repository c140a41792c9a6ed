package autocertcache_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"

	larder "larder.test/clients/go"
	"larder.test/clients/go/adapters/autocertcache"
	"larder.test/clients/go/lardertest"
)

func TestCache(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	client, err := larder.New(server.Target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	cache, err := autocertcache.New(client, "certificates")
	if err != nil {
		t.Fatal(err)
	}
	ctx, data := context.Background(), []byte{0, 1, 0xff}
	if _, err := cache.Get(ctx, "example.com"); !errors.Is(err, autocert.ErrCacheMiss) {
		t.Fatal(err)
	}
	if err := cache.Put(ctx, "example.com", data); err != nil {
		t.Fatal(err)
	}
	if got, err := cache.Get(ctx, "example.com"); !bytes.Equal(got, data) || err != nil {
		t.Fatal(got, err)
	}
	for range 2 {
		if err := cache.Delete(ctx, "example.com"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cache.Get(ctx, "example.com"); !errors.Is(err, autocert.ErrCacheMiss) {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := cache.Put(ended, "example.com", data); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestAnOutageIsNoMiss(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	cache, err := autocertcache.New(client, "certificates")
	if err != nil {
		t.Fatal(err)
	}
	fake.Degrade()
	_, err = cache.Get(context.Background(), "example.com")
	if err == nil || errors.Is(err, autocert.ErrCacheMiss) {
		t.Fatal(err)
	}
	if err := cache.Put(context.Background(), "example.com", nil); err == nil {
		t.Fatal("no error")
	}
}

func TestOptionsOfTheCallerAreNotChanged(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	all := []larder.NamespaceOption{larder.TTL(time.Hour), nil}
	if _, err := autocertcache.New(client, "options", all[:1]...); err != nil {
		t.Fatal(err)
	}
	if all[1] != nil {
		t.Error("the next option is another one")
	}
}
