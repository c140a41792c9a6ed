package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// clientFeatures are those of the Go library.
var clientFeatures = []string{
	"threads", "two_clients", "cancel", "big_integers", "near_cache", "call_keys",
}

func applies(test *Case, features ...[]string) bool {
	all := slices.Concat(features...)
	for _, need := range test.Needs {
		if !slices.Contains(all, need) {
			return false
		}
	}
	return true
}

func load(t *testing.T) (*Suite, map[string]string) {
	t.Helper()
	suite, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	skips, err := Skips()
	if err != nil {
		t.Fatal(err)
	}
	return suite, skips
}

// check lets a case pass, or be in the list of skips and fail.
func check(t *testing.T, kind string, test *Case, place Place, skips map[string]string) {
	t.Helper()
	err := NewRun(test, place, nil).Run()
	reason, skipped := skips[kind+"/"+test.ID]
	if !skipped {
		reason, skipped = skips["*/"+test.ID]
	}
	switch {
	case !skipped && err != nil:
		t.Fatal(err)
	case skipped && err == nil:
		t.Fatalf("the case passes: remove it from the skips (%s)", reason)
	case skipped:
		t.Skip(reason)
	default:
		report(t, kind+"/"+test.ID)
	}
}

// report notes a case that passed, for the table in docs/clients.md.
func report(t *testing.T, passed string) {
	t.Helper()
	folder := os.Getenv("LARDER_CONFORMANCE_REPORT")
	if folder == "" {
		return
	}
	file, err := os.OpenFile(
		filepath.Join(folder, "go.txt"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644,
	)
	if err == nil {
		_, err = file.WriteString(passed + "\n")
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func startControl(t *testing.T) *Control {
	t.Helper()
	if missing := Missing(); len(missing) > 0 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("not built: %v", missing)
		}
		t.Skipf("not built: %v", missing)
	}
	store := os.Getenv("LARDER_CONFORMANCE_STORE")
	if store == "" {
		store = "memory"
	}
	control, err := StartControl(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Close)
	return control
}

// TestClient runs the cases on the real server.
func TestClient(t *testing.T) {
	suite, skips := load(t)
	control := startControl(t)
	for i := range suite.Cases {
		test := &suite.Cases[i]
		if !applies(test, clientFeatures, RealFeatures) {
			continue
		}
		t.Run(test.ID, func(t *testing.T) {
			server, err := NewRealServer(control, test.Needs)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "client", test, server, skips)
		})
	}
}

// TestSkips lets no skip be for a case that is not there, and gives each a reason.
func TestSkips(t *testing.T) {
	suite, skips := load(t)
	for name, reason := range skips {
		_, id, _ := strings.Cut(name, "/")
		found := slices.ContainsFunc(suite.Cases, func(test Case) bool { return test.ID == id })
		if !found {
			t.Errorf("there is no case of the skip %s", name)
		}
		if reason == "" {
			t.Errorf("the skip %s has no reason", name)
		}
	}
}

// TestFake runs the cases on the fake.
func TestFake(t *testing.T) {
	suite, skips := load(t)
	for i := range suite.Cases {
		test := &suite.Cases[i]
		if !applies(test, clientFeatures, FakeFeatures) {
			continue
		}
		t.Run(test.ID, func(t *testing.T) {
			server := NewFakeServer(suite.Configuration)
			defer server.Close()
			check(t, "fake", test, server, skips)
		})
	}
}
