package globs

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestMatcher(t *testing.T) {
	for _, each := range []struct {
		glob string
		key  string
		want bool
	}{
		{"*", "", true}, {"*", "a\nb", true}, {"a*c", "abc", true}, {"a*c", "abcd", false},
		{"?", "é", true}, {"?", "", false}, {"??", "a", false},
		{"user:[0-9]", "user:7", true}, {"user:[0-9]", "user:a", false},
		{"[^a]", "b", true}, {"[!a]", "a", false}, {"[]]", "]", true}, {"[a-]", "-", true},
		{"[-a]", "-", true}, {`[\]]`, "]", true}, {`[\d]`, "d", true}, {`[\d]`, "7", false},
		{"[.]", "a", false}, {"[&&a]", "&", true}, {"[[:alpha:]]", "a]", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {"a.c", "abc", false}, {"(a|b)", "a", false},
		{"a**c", "abc", true}, {`[A-\]]`, "^", false}, {`[\[-\]]`, "\\", true}, {"[a-c-e]", "-", true},
		{strings.Repeat("**", 40), "a", true}, {"*ab*abc", "ababc", true}, {"*a?c", "aabc", true},
		{"A", "a", false}, {"日*", "日本", true}, {"^a$", "a", false},
	} {
		matches, ok := Matcher(each.glob)
		if !ok {
			t.Errorf("%q is not a pattern", each.glob)
		} else if matches(each.key) != each.want {
			t.Errorf("%q and %q: not %v", each.glob, each.key, each.want)
		}
	}
	for _, glob := range []string{
		"", "[", "[a", `a\`, "[z-a]", "[^]", strings.Repeat("a", 1025), strings.Repeat("a*", 33),
	} {
		if _, ok := Matcher(glob); ok {
			t.Errorf("%q is a pattern", glob)
		}
	}
}

// TestManyAsterisks lets no step be taken back: the time would be exponential.
func TestManyAsterisks(t *testing.T) {
	matches, ok := Matcher(strings.Repeat("*a", 31) + "*b")
	begun := time.Now()
	if !ok || matches(strings.Repeat("a", 1024)) {
		t.Fatal(ok)
	}
	if took := time.Since(begun); took > time.Second {
		t.Fatal(took)
	}
}

// FuzzMatcher compares with an expression for patterns that have no classes.
func FuzzMatcher(f *testing.F) {
	f.Add("a*b?c", "axbyc")
	f.Add("**a*", "ba")
	f.Fuzz(func(t *testing.T, glob, key string) {
		matches, ok := Matcher(glob)
		if !ok || strings.ContainsAny(glob, `[\`) || strings.ToValidUTF8(glob+key, "") != glob+key {
			return
		}
		text := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(glob))
		expression := regexp.MustCompile(`(?s)\A` + text + `\z`)
		if got := matches(key); got != expression.MatchString(key) {
			t.Fatalf("%q and %q: %v", glob, key, got)
		}
	})
}
