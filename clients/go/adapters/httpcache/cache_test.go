package httpcache_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

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

func TestPrivateResponsesAreNotShared(t *testing.T) {
	shared := newCache(t)
	for header, value := range map[string]string{
		"Cache-Control": "max-age=60, Private", "Set-Cookie": "id=7", "Vary": "Cookie",
	} {
		body := "old"
		site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if body == "old" {
				w.Header().Set("Cache-Control", "max-age=0")
			} else {
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set(header, value)
			}
			_, _ = io.WriteString(w, body)
		}))
		get := func(cache httpcache.Cache, want string, cached bool) {
			t.Helper()
			request, _ := http.NewRequest(http.MethodGet, site.URL, nil)
			request.Header.Set("Cookie", "id=7")
			response, err := httpcache.NewTransport(cache).Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			found, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || string(found) != want ||
				cached != (response.Header.Get(httpcache.XFromCache) == "1") {
				t.Error(header, string(found), response.Header, err)
			}
		}
		get(shared, "old", false)
		if _, found := shared.Get(site.URL); !found {
			t.Error(header, "is not kept")
		}
		body = "private"
		get(shared, "private", false)
		if response, found := shared.Get(site.URL); found {
			t.Error(header, string(response))
		}
		get(shared.WithPrivate(), "private", false)
		get(shared.WithPrivate(), "private", true)
		site.Close()
	}
	shared.Set("broken", []byte("HTTP/1.1 200"))
	if _, found := shared.Get("broken"); found {
		t.Error("a response that cannot be read is kept")
	}
}

func TestAResponsePastItsTTLIsNotServed(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{
		Defaults: lardertest.Namespace{StaleWhileRevalidate: time.Hour},
	})
	cache, err := adapter.New(client, "responses", larder.TTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	cache.Set("k", []byte("v"))
	if _, found := cache.Get("k"); !found {
		t.Error("not found")
	}
	fake.Advance(2 * time.Minute)
	if _, found := cache.Get("k"); found {
		t.Error("found")
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
