// Package globs matches keys as the server does.
package globs

// Matcher matches as the server does: `*`, `?`, `[a-z]`, `[^a-z]`, `[!a-z]` and `\`, over the
// whole key. It is not ok if the server refuses the pattern. A match takes at most the product of
// the lengths of the pattern and of the key.
func Matcher(glob string) (matches func(string) bool, ok bool) {
	if glob == "" || len(glob) > maxBytes {
		return nil, false
	}
	var pattern []token
	characters := []rune(glob)
	for i := 0; i < len(characters); i++ {
		switch character := characters[i]; character {
		case '*':
			if len(pattern) == 0 || pattern[len(pattern)-1].kind != anyText {
				pattern = append(pattern, token{kind: anyText})
			}
		case '?':
			pattern = append(pattern, token{kind: one})
		case '\\':
			i++
			if i == len(characters) {
				return nil, false
			}
			pattern = append(pattern, token{kind: literal, character: characters[i]})
		case '[':
			end := classEnd(characters, i)
			if end < 0 {
				return nil, false
			}
			class, ok := classOf(characters[i+1 : end])
			if !ok {
				return nil, false
			}
			pattern = append(pattern, class)
			i = end
		default:
			pattern = append(pattern, token{kind: literal, character: character})
		}
	}
	wildcards := 0
	for _, each := range pattern {
		if each.kind != literal {
			wildcards++
		}
	}
	if wildcards > maxWildcards {
		return nil, false
	}
	return func(key string) bool { return match(pattern, key) }, true
}

const (
	maxBytes     = 1024
	maxWildcards = 32
)

type kind uint8

const (
	literal kind = iota
	// one is any character, and anyText any number of them.
	one
	anyText
	class
)

// token is a part of a pattern.
type token struct {
	kind      kind
	character rune
	// ranges are the members of a class.
	ranges []span
	// negated: the class is all other characters.
	negated bool
}

type span struct{ first, last rune }

func (t *token) has(character rune) bool {
	switch t.kind {
	case literal:
		return t.character == character
	case class:
		for _, each := range t.ranges {
			if each.first <= character && character <= each.last {
				return !t.negated
			}
		}
		return t.negated
	}
	return true
}

// match tries the shortest text for each `*` first. A longer one for an earlier `*` cannot help
// once a later one is reached.
func match(pattern []token, key string) bool {
	characters := []rune(key)
	at, position := 0, 0
	star, resume := -1, 0
	for position < len(characters) {
		switch {
		case at < len(pattern) && pattern[at].kind == anyText:
			star, resume = at, position
			at++
		case at < len(pattern) && pattern[at].has(characters[position]):
			at++
			position++
		case star < 0:
			return false
		default:
			resume++
			at, position = star+1, resume
		}
	}
	for at < len(pattern) && pattern[at].kind == anyText {
		at++
	}
	return at == len(pattern)
}

func classEnd(characters []rune, start int) int {
	i := start + 1
	if i < len(characters) && (characters[i] == '^' || characters[i] == '!') {
		i++
	}
	// A bracket that comes first is a member.
	if i < len(characters) && characters[i] == ']' {
		i++
	}
	for ; i < len(characters); i++ {
		switch characters[i] {
		case '\\':
			i++
		case ']':
			return i
		}
	}
	return -1
}

// classOf is not ok if the end of a range is before its begin.
func classOf(members []rune) (made token, ok bool) {
	made.kind = class
	if len(members) > 0 && (members[0] == '^' || members[0] == '!') {
		made.negated = true
		members = members[1:]
	}
	next := func(i int) (rune, int) {
		if members[i] == '\\' && i+1 < len(members) {
			i++
		}
		return members[i], i + 1
	}
	for i := 0; i < len(members); {
		var each span
		each.first, i = next(i)
		each.last = each.first
		if i+1 < len(members) && members[i] == '-' {
			each.last, i = next(i + 1)
		}
		if each.last < each.first {
			return made, false
		}
		made.ranges = append(made.ranges, each)
	}
	return made, true
}
