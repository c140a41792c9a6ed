package conformance

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Mismatch is a result that is not as expected.
type Mismatch struct{ message string }

func (m *Mismatch) Error() string { return m.message }

func mismatch(format string, values ...any) error {
	return &Mismatch{fmt.Sprintf(format, values...)}
}

// bound are the values of the names of a case.
type bound map[string]any

var duration = regexp.MustCompile(`^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)$`)

var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour,
}

// times are the fields of a result that are durations.
var times = map[string]bool{"ttl": true, "ttl_remaining": true, "age": true, "retry_after": true}

// closeEnough is the tolerance of durations.
const closeEnough = 1500 * time.Microsecond

func parseDuration(value any) (time.Duration, bool) {
	text, ok := value.(string)
	if !ok {
		return 0, false
	}
	found := duration.FindStringSubmatch(text)
	if found == nil {
		return 0, false
	}
	number, _ := strconv.ParseFloat(found[1], 64)
	return time.Duration(number * float64(units[found[2]])), true
}

func durationOr(value any, fallback time.Duration) time.Duration {
	if d, ok := parseDuration(value); ok {
		return d
	}
	return fallback
}

func numbered(prefix string, count int64) []any {
	list := make([]any, count)
	for i := range list {
		list[i] = prefix + strconv.Itoa(i)
	}
	return list
}

// opaque cannot be part of a key.
type opaque struct{ _ chan int }

// ownForm has a canonical form of its own.
type ownForm struct{ form any }

// LarderKey returns the form.
func (o ownForm) LarderKey() any { return o.form }

var tags map[string]func(given any, b bound) any

func init() {
	tags = map[string]func(given any, b bound) any{
		"$bytes": func(given any, _ bound) any {
			data, _ := base64.StdEncoding.DecodeString(given.(string))
			return data
		},
		"$int": func(given any, _ bound) any {
			integer, _ := new(big.Int).SetString(given.(string), 10)
			return integer
		},
		"$number": func(given any, _ bound) any {
			number, _ := strconv.ParseFloat(given.(string), 64)
			return number
		},
		"$repeat": func(given any, _ bound) any {
			list := given.([]any)
			return strings.Repeat(list[0].(string), int(list[1].(int64)))
		},
		"$concat": func(given any, b bound) any {
			var text strings.Builder
			for _, part := range given.([]any) {
				text.WriteString(expand(part, b).(string))
			}
			return text.String()
		},
		"$keys": func(given any, _ bound) any {
			return numbered(given.([]any)[0].(string), given.([]any)[1].(int64))
		},
		"$keys_sorted": func(given any, _ bound) any {
			list := numbered(given.([]any)[0].(string), given.([]any)[1].(int64))
			sort.Slice(list, func(i, j int) bool { return list[i].(string) < list[j].(string) })
			return list
		},
		"$params": func(given any, _ bound) any {
			made := Fields{}
			for _, name := range numbered(given.([]any)[0].(string), given.([]any)[1].(int64)) {
				made[name.(string)] = given.([]any)[2]
			}
			return made
		},
		"$items": func(given any, b bound) any {
			made, fields := Fields{}, given.(Fields)
			for _, name := range numbered(fields["prefix"].(string), fields["count"].(int64)) {
				made[name.(string)] = expand(fields["value"], b)
			}
			return made
		},
		"$raw":      func(given any, _ bound) any { return given },
		"$callable": func(given any, _ bound) any { return func() any { return given } },
		"$var":      func(given any, b bound) any { return b[given.(string)] },
		"$set": func(given any, _ bound) any {
			set := map[any]struct{}{}
			for _, member := range given.([]any) {
				set[member] = struct{}{}
			}
			return set
		},
		"$datetime": func(given any, _ bound) any {
			made, _ := time.Parse(time.RFC3339Nano, given.(string))
			return made
		},
		"$opaque":   func(any, bound) any { return opaque{} },
		"$own_form": func(given any, _ bound) any { return ownForm{given} },
	}
}

var matchers = map[string]bool{
	"$between": true, "$any": true, "$not": true, "$has": true, "$begins": true, "$exactly": true,
}

// tagOf is the only name of a map.
func tagOf(value any) (name string, given any) {
	if fields, ok := value.(Fields); ok && len(fields) == 1 {
		for name, given := range fields {
			return name, given
		}
	}
	return "", nil
}

// expand is the value that a tagged form such as {$bytes: ...} stands for.
func expand(value any, b bound) any {
	switch value := value.(type) {
	case []any:
		made := make([]any, len(value))
		for i, item := range value {
			made[i] = expand(item, b)
		}
		return made
	case Fields:
		if name, given := tagOf(value); tags[name] != nil {
			return tags[name](given, b)
		}
		made := make(Fields, len(value))
		for name, item := range value {
			made[name] = expand(item, b)
		}
		return made
	case string:
		if value == "$each" {
			return b["$each"]
		}
	}
	return value
}

func asRat(value any) *big.Rat {
	switch value := value.(type) {
	case *big.Int:
		return new(big.Rat).SetInt(value)
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return nil
		}
		return new(big.Rat).SetFloat64(value)
	}
	switch v := reflect.ValueOf(value); {
	case v.IsValid() && v.CanInt():
		return new(big.Rat).SetInt64(v.Int())
	case v.IsValid() && v.CanUint():
		return new(big.Rat).SetInt(new(big.Int).SetUint64(v.Uint()))
	}
	return nil
}

// same is equality of values, in which numbers of all types are equal.
func same(expected, actual any) bool {
	if wanted, found := asRat(expected), asRat(actual); wanted != nil || found != nil {
		return wanted != nil && found != nil && wanted.Cmp(found) == 0
	}
	switch expected := expected.(type) {
	case []any:
		list, ok := actual.([]any)
		if !ok || len(list) != len(expected) {
			return false
		}
		for i := range list {
			if !same(expected[i], list[i]) {
				return false
			}
		}
		return true
	case Fields:
		fields, ok := actual.(Fields)
		if !ok || len(fields) != len(expected) {
			return false
		}
		for name, item := range expected {
			found, ok := fields[name]
			if !ok || !same(item, found) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(expected, actual)
}

func shown(value any) string {
	text := fmt.Sprintf("%#v", value)
	if len(text) > 300 {
		return fmt.Sprintf("%s... (%d characters)", text[:300], len(text))
	}
	return text
}

func amount(value any) (float64, error) {
	if d, ok := parseDuration(value); ok {
		return float64(d), nil
	}
	if d, ok := value.(time.Duration); ok {
		return float64(d), nil
	}
	if number := asRat(value); number != nil {
		found, _ := number.Float64()
		return found, nil
	}
	return 0, mismatch("%s is not a number", shown(value))
}

func matchBy(tag string, given, actual any, place string, b bound) error {
	if tag == "$between" {
		low, _ := amount(expand(given.([]any)[0], b))
		high, _ := amount(expand(given.([]any)[1], b))
		found, err := amount(actual)
		if err != nil {
			return mismatch("%s: %v", place, err)
		}
		slack := 0.0
		if _, isTime := parseDuration(given.([]any)[0]); isTime {
			slack = float64(closeEnough)
		}
		if found < low-slack || found > high+slack {
			return mismatch("%s: %s is not between %s", place, shown(actual), shown(given))
		}
		return nil
	}
	fits := false
	text, isText := actual.(string)
	switch tag {
	case "$any":
		fits = actual != nil && actual != ""
	case "$not":
		fits = !same(expand(given, b), actual)
	case "$has":
		fits = isText && strings.Contains(text, expand(given, b).(string))
	case "$begins":
		fits = isText && strings.HasPrefix(text, given.(string))
	case "$exactly":
		if actual == nil {
			actual = Fields{}
		}
		fits = same(expand(given, b), actual)
	}
	if !fits {
		return mismatch("%s: %s does not fit %s %s", place, shown(actual), tag, shown(given))
	}
	return nil
}

// match fails unless a result is as expected: a map names some of the fields.
func match(expected, actual any, place string, b bound) error {
	tag, given := tagOf(expected)
	if matchers[tag] {
		return matchBy(tag, given, actual, place, b)
	}
	field := place[strings.LastIndex(place, ".")+1:]
	if _, isTime := parseDuration(expected); times[field] && isTime {
		return matchBy("$between", []any{expected, expected}, actual, place, b)
	}
	if field == "class" {
		for _, class := range actual.([]any) {
			if class == expected {
				return nil
			}
		}
		return mismatch("%s: %s does not have %s", place, shown(actual), shown(expected))
	}
	if fields, ok := expected.(Fields); ok && field != "value" && tags[tag] == nil {
		found, ok := actual.(Fields)
		if !ok {
			return mismatch("%s: %s has no fields", place, shown(actual))
		}
		for name, item := range fields {
			if err := match(item, found[name], place+"."+name, b); err != nil {
				return err
			}
		}
		return nil
	}
	wanted := expand(expected, b)
	if list, ok := wanted.([]any); ok && field != "value" && hasFields(list) {
		found, ok := actual.([]any)
		if !ok || len(found) != len(list) {
			return mismatch("%s: %s, not %s", place, shown(actual), shown(wanted))
		}
		for i, item := range list {
			if err := match(item, found[i], fmt.Sprintf("%s.%d", place, i), b); err != nil {
				return err
			}
		}
		return nil
	}
	if !same(wanted, actual) {
		return mismatch("%s: %s, not %s", place, shown(actual), shown(wanted))
	}
	return nil
}

func hasFields(list []any) bool {
	for _, item := range list {
		if _, ok := item.(Fields); ok {
			return true
		}
	}
	return false
}
