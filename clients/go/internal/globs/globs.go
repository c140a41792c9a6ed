// Package globs matches keys as the server does.
package globs

import (
	"regexp"
	"strings"
)

// Matcher matches as the server does: `*`, `?`, `[a-z]`, `[^a-z]`, `[!a-z]` and `\`, over the
// whole key. It is not ok if the pattern is not valid.
func Matcher(glob string) (matches func(string) bool, ok bool) {
	var source strings.Builder
	source.WriteString(`(?s)\A`)
	characters := []rune(glob)
	for i := 0; i < len(characters); i++ {
		switch character := characters[i]; character {
		case '*':
			source.WriteString(`.*`)
		case '?':
			source.WriteString(`.`)
		case '\\':
			i++
			if i == len(characters) {
				return nil, false
			}
			source.WriteString(regexp.QuoteMeta(string(characters[i])))
		case '[':
			end := classEnd(characters, i)
			if end < 0 {
				return nil, false
			}
			writeClass(&source, characters[i+1:end])
			i = end
		default:
			source.WriteString(regexp.QuoteMeta(string(character)))
		}
	}
	source.WriteString(`\z`)
	// An error is a range whose end is before its begin.
	pattern, err := regexp.Compile(source.String())
	if err != nil {
		return nil, false
	}
	return pattern.MatchString, true
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

func writeClass(source *strings.Builder, members []rune) {
	source.WriteByte('[')
	first := 0
	if len(members) > 0 && (members[0] == '^' || members[0] == '!') {
		source.WriteByte('^')
		first = 1
	}
	for i := first; i < len(members); i++ {
		member := members[i]
		switch {
		case member == '-' && i > first && i < len(members)-1:
			source.WriteByte('-')
			continue
		case member == '\\' && i+1 < len(members):
			i++
			member = members[i]
		}
		// A backslash before a letter or a digit would have a meaning of its own.
		if strings.ContainsRune(`\^$.*+?()[]{}|/-&~`, member) {
			source.WriteByte('\\')
		}
		source.WriteRune(member)
	}
	source.WriteByte(']')
}
