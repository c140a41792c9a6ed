package globs

import "testing"

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
		{"A", "a", false}, {"日*", "日本", true}, {"^a$", "a", false},
	} {
		matches, ok := Matcher(each.glob)
		if !ok {
			t.Errorf("%q is not a pattern", each.glob)
		} else if matches(each.key) != each.want {
			t.Errorf("%q and %q: not %v", each.glob, each.key, each.want)
		}
	}
	for _, glob := range []string{"[", "[a", `a\`, "[z-a]", "[^]"} {
		if _, ok := Matcher(glob); ok {
			t.Errorf("%q is a pattern", glob)
		}
	}
}
