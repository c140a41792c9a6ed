package fiberstorage_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/cache"
	"github.com/gofiber/fiber/v3/middleware/limiter"
	"github.com/gofiber/fiber/v3/middleware/session"

	larder "larder.test/clients/go"
	"larder.test/clients/go/adapters/fiberstorage"
	"larder.test/clients/go/lardertest"
)

func newStorage(t *testing.T, namespace string) *fiberstorage.Storage {
	t.Helper()
	server := lardertest.RunServer(t, lardertest.ServerOptions{})
	client, err := larder.New(server.Target)
	if err != nil {
		t.Fatal(err)
	}
	storage, err := fiberstorage.New(client, namespace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = storage.Close() })
	return storage
}

func TestStorage(t *testing.T) {
	storage := newStorage(t, "storage")
	check := func(key, want string) {
		t.Helper()
		value, err := storage.Get(key)
		if err != nil || string(value) != want || want == "" && value != nil {
			t.Errorf("%s: %q, %v", key, value, err)
		}
	}
	set := func(key, value string, expiration time.Duration) {
		t.Helper()
		if err := storage.Set(key, []byte(value), expiration); err != nil {
			t.Error(err)
		}
	}
	check("missing", "")
	check("\xff\xfe", "")
	set("\xff\xfe", "1", time.Minute)
	check("\xff\xfe", "1")
	if err := storage.Delete("\xff\xfe"); err != nil {
		t.Error(err)
	}
	check("\xff\xfe", "")
	set("forever", "1", 0)
	set("a", "1", time.Minute)
	set("a", "2", time.Minute)
	check("a", "2")
	set("a", "3", -time.Second)
	check("a", "")
	check("forever", "1")
	for range 2 {
		if err := storage.Delete("forever"); err != nil {
			t.Error(err)
		}
	}
	check("forever", "")
	set("b", "1", time.Minute)
	if err := storage.Reset(); err != nil {
		t.Error(err)
	}
	check("b", "")
	set("", "1", 0)
	check("", "")

	set("c", "1", time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := storage.SetWithContext(ctx, "c", []byte("2"), 0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := storage.GetWithContext(ctx, "c"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := storage.DeleteWithContext(ctx, "c"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := storage.ResetWithContext(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	check("c", "1")
	if err := storage.Close(); err != nil {
		t.Error(err)
	}
	if err := storage.Set("c", []byte("2"), 0); !errors.Is(err, larder.ErrClosed) {
		t.Error(err)
	}
}

func TestAnOutageIsAnError(t *testing.T) {
	fake, client := lardertest.Start(t, lardertest.Config{})
	storage, err := fiberstorage.New(client, "storage")
	if err != nil {
		t.Fatal(err)
	}
	fake.Degrade()
	if _, err := storage.Get("a"); err == nil {
		t.Error("Get is no error")
	}
	if err := storage.Set("a", []byte("1"), 0); err == nil {
		t.Error("Set is no error")
	}
}

func TestTheCacheMiddleware(t *testing.T) {
	app, runs := fiber.New(), 0
	app.Use(cache.New(cache.Config{Storage: newStorage(t, "responses"), Expiration: time.Minute}))
	app.Get("/", func(c fiber.Ctx) error {
		runs++
		return c.SendString(strconv.Itoa(runs))
	})
	for i := range 3 {
		response, err := app.Test(httptest.NewRequest("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "miss", false: "hit"}[i == 0]
		if got := response.Header.Get("X-Cache"); got != want || runs != 1 {
			t.Error(i, got, runs)
		}
	}
}

func TestTheSessionMiddleware(t *testing.T) {
	app := fiber.New()
	app.Use(session.New(session.Config{Storage: newStorage(t, "sessions")}))
	app.Get("/", func(c fiber.Ctx) error {
		current := session.FromContext(c)
		count, _ := current.Get("count").(int)
		current.Set("count", count+1)
		return c.SendStatus(200 + count)
	})
	cookie := ""
	for i := range 3 {
		request := httptest.NewRequest("GET", "/", nil)
		request.Header.Set("Cookie", cookie)
		response, err := app.Test(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != 200+i {
			t.Fatal(i, response.StatusCode)
		}
		if cookies := response.Cookies(); len(cookies) > 0 {
			cookie = cookies[0].Name + "=" + cookies[0].Value
		}
	}
}

func TestTheLimiterMiddleware(t *testing.T) {
	app := fiber.New()
	app.Use(limiter.New(limiter.Config{
		Storage: newStorage(t, "limits"), Max: 2, Expiration: time.Minute,
	}))
	app.Get("/", func(c fiber.Ctx) error { return c.SendStatus(200) })
	for i, want := range []int{200, 200, 429} {
		response, err := app.Test(httptest.NewRequest("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != want {
			t.Error(i, response.StatusCode)
		}
	}
}

func TestOptionsOfTheCallerAreNotChanged(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	all := []larder.NamespaceOption{larder.TTL(time.Hour), nil}
	if _, err := fiberstorage.New(client, "options", all[:1]...); err != nil {
		t.Fatal(err)
	}
	if all[1] != nil {
		t.Error("the next option is another one")
	}
}
