package httpcache_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gregjones/httpcache"
	suite "github.com/gregjones/httpcache/test"

	larder "larder.test/clients/go"
	adapter "larder.test/clients/go/adapters/httpcache"
	"larder.test/clients/go/lardertest"
)

func newCache(t *testing.T) *adapter.Cache {
	t.Helper()
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	client, err := larder.New(server.Target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	cache, err := adapter.New(client, "responses")
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// TestSuite is the suite of httpcache for its caches.
func TestSuite(t *testing.T) { suite.Cache(t, newCache(t)) }

func TestTransport(t *testing.T) {
	requests := 0
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "hello")
	}))
	defer site.Close()
	browser := httpcache.NewTransport(newCache(t)).Client()
	for i := range 3 {
		response, err := browser.Get(site.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		cached := response.Header.Get(httpcache.XFromCache) == "1"
		if err != nil || string(body) != "hello" || cached != (i > 0) {
			t.Error(i, string(body), cached, err)
		}
	}
	if requests != 1 {
		t.Error(requests, "requests")
	}
}

func TestWithoutTheCache(t *testing.T) {
	client, err := larder.New("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	cache, err := adapter.New(client, "responses")
	if err != nil {
		t.Fatal(err)
	}
	cache.Set("k", []byte("v"))
	if _, found := cache.Get("k"); found {
		t.Error("found")
	}
	cache.Delete("k")
}
