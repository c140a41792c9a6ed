package scsstore_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	larder "larder.test/clients/go"
	"larder.test/clients/go/adapters/scsstore"
	"larder.test/clients/go/lardertest"
)

func newStore(t *testing.T) (*lardertest.Fake, *scsstore.Store) {
	t.Helper()
	fake, client := lardertest.Start(t, lardertest.Config{})
	store, err := scsstore.New(client, "sessions")
	if err != nil {
		t.Fatal(err)
	}
	return fake, store
}

func TestSessions(t *testing.T) {
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	client, err := larder.New(server.Target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	store, err := scsstore.New(client, "sessions")
	if err != nil {
		t.Fatal(err)
	}
	sessions := scs.New()
	sessions.Store = store
	handler := http.NewServeMux()
	handler.HandleFunc("/login", func(_ http.ResponseWriter, r *http.Request) {
		if err := sessions.RenewToken(r.Context()); err != nil {
			t.Error(err)
		}
		sessions.Put(r.Context(), "user", "Ada")
	})
	handler.HandleFunc("/user", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("User", sessions.GetString(r.Context(), "user"))
	})
	handler.HandleFunc("/logout", func(_ http.ResponseWriter, r *http.Request) {
		if err := sessions.Destroy(r.Context()); err != nil {
			t.Error(err)
		}
	})
	site := httptest.NewServer(sessions.LoadAndSave(handler))
	defer site.Close()
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	for _, step := range []struct{ path, user string }{
		{"/user", ""}, {"/login", ""}, {"/user", "Ada"}, {"/logout", ""}, {"/user", ""},
	} {
		response, err := browser.Get(site.URL + step.path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := response.Header.Get("User"); got != step.user || response.StatusCode != 200 {
			t.Errorf("%s: %d, user %q", step.path, response.StatusCode, got)
		}
	}
}

func TestExpiry(t *testing.T) {
	fake, store := newStore(t)
	if err := store.Commit("a", []byte("1"), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if b, found, err := store.Find("a"); string(b) != "1" || !found || err != nil {
		t.Fatal(b, found, err)
	}
	fake.Advance(2 * time.Minute)
	if b, found, err := store.Find("a"); b != nil || found || err != nil {
		t.Fatal(b, found, err)
	}
	if err := store.Commit("a", []byte("1"), time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, found, err := store.Find("a"); found || err != nil {
		t.Fatal(found, err)
	}
}

func TestAnOutageIsAnErrorAndNotTheEndOfASession(t *testing.T) {
	fake, store := newStore(t)
	for name, begin := range map[string]func(){
		"server": func() { fake.Fail(lardertest.Failure{}) }, "store": fake.Degrade,
	} {
		begin()
		if _, _, err := store.Find("a"); err == nil {
			t.Error(name, "Find is no error")
		}
		if err := store.Commit("a", nil, time.Now().Add(time.Minute)); err == nil {
			t.Error(name, "Commit is no error")
		}
		if err := store.Delete("a"); err == nil {
			t.Error(name, "Delete is no error")
		}
		fake.Recover()
	}
}

func TestATokenThatNoSessionHas(t *testing.T) {
	_, store := newStore(t)
	for _, token := range []string{"", "\xff\xfe"} {
		if b, found, err := store.Find(token); b != nil || found || err != nil {
			t.Error(b, found, err)
		}
	}
}

func TestOptionsOfTheCallerAreNotChanged(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	all := []larder.NamespaceOption{larder.TTL(time.Hour), nil}
	if _, err := scsstore.New(client, "options", all[:1]...); err != nil {
		t.Fatal(err)
	}
	if all[1] != nil {
		t.Error("the next option is another one")
	}
}
