package larder

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// KeyError is an argument of a call that cannot be part of a key.
type KeyError struct {
	// Path leads to it, such as `filter.owner`.
	Path string
	// Why is the reason.
	Why string
}

// Error names the argument.
func (e *KeyError) Error() string {
	return fmt.Sprintf("larder: the argument %s: %s", e.Path, e.Why)
}

// Keyer is a value with a canonical form of its own, such as that of its id. A struct that embeds one
// has its method, as Go has it: with fields that distinguish calls, it needs a method of its own.
type Keyer interface {
	// LarderKey returns a value that has a canonical form.
	LarderKey() any
}

const maxKeyDepth = 64

var reservedTags = []string{
	"$bytes", "$datetime", "$date", "$time", "$uuid", "$decimal", "$set",
}

// Canonical is canonical JSON, equal for equal values in all languages: no white space, names
// sorted by their UTF-8, numbers and text as in RFC 8785; types that JSON lacks are objects with
// one tag. A map to struct{} is a set. The path names the value in the error, which is a
// [*KeyError].
func Canonical(value any, path string) (string, error) {
	form, err := canonical(reflect.ValueOf(value), path, 0)
	return string(form), err
}

func notCanonical(path, format string, values ...any) error {
	return &KeyError{Path: path, Why: fmt.Sprintf(format, values...)}
}

func tagged(tag, text string) []byte {
	return append(appendText([]byte(`{"`+tag+`":`), text), '}')
}

func canonical(value reflect.Value, path string, depth int) ([]byte, error) {
	if depth > maxKeyDepth {
		return nil, notCanonical(path, "deeper than %d levels", maxKeyDepth)
	}
	if !value.IsValid() {
		return []byte("null"), nil
	}
	if value.CanInterface() && !isNil(value) {
		if own := addressed(value); own != nil {
			return canonical(reflect.ValueOf(own.LarderKey()), path, depth+1)
		}
		switch own := value.Interface().(type) {
		case Keyer:
			return canonical(reflect.ValueOf(own.LarderKey()), path, depth+1)
		case time.Time:
			return tagged("$datetime", dateText(own)), nil
		case *big.Int:
			return []byte(own.String()), nil
		case json.Number:
			return canonicalNumber(own.String(), path)
		case []byte:
			return tagged("$bytes", base64.StdEncoding.EncodeToString(own)), nil
		}
		if t := value.Type(); t.Kind() == reflect.Array && t.Len() == 16 && t.Name() == "UUID" {
			if text, ok := value.Interface().(fmt.Stringer); ok {
				return tagged("$uuid", strings.ToLower(text.String())), nil
			}
		}
	}
	switch value.Kind() {
	case reflect.String:
		if !utf8.ValidString(value.String()) {
			return nil, notCanonical(path, "text that is not valid UTF-8")
		}
		return appendText(nil, value.String()), nil
	case reflect.Bool:
		return strconv.AppendBool(nil, value.Bool()), nil
	case reflect.Float32:
		return canonicalFloat(value.Float(), 32, path)
	case reflect.Float64:
		return canonicalFloat(value.Float(), 64, path)
	case reflect.Interface:
		return canonical(value.Elem(), path, depth)
	case reflect.Pointer:
		// A pointer can lead to itself.
		return canonical(value.Elem(), path, depth+1)
	case reflect.Slice, reflect.Array:
		return canonicalList(value, path, depth)
	case reflect.Map:
		return canonicalMap(value, path, depth)
	case reflect.Struct:
		return canonicalStruct(value, path, depth)
	}
	switch {
	case value.CanInt():
		return strconv.AppendInt(nil, value.Int(), 10), nil
	case value.CanUint():
		return strconv.AppendUint(nil, value.Uint(), 10), nil
	}
	return nil, notCanonical(path, "a %v cannot be part of a key", value.Type())
}

var keyer = reflect.TypeFor[Keyer]()

// addressed is a copy of a value whose pointer has the method LarderKey; nil: it has not.
func addressed(value reflect.Value) Keyer {
	t := value.Type()
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface || t.Implements(keyer) ||
		!reflect.PointerTo(t).Implements(keyer) {
		return nil
	}
	copied := reflect.New(t)
	copied.Elem().Set(value)
	return copied.Interface().(Keyer)
}

// canonicalNumber is that of a number as text. A whole one is exact, as other integers are.
func canonicalNumber(text, path string) ([]byte, error) {
	if integer, ok := new(big.Int).SetString(text, 10); ok {
		return []byte(integer.String()), nil
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, notCanonical(path, "%q is not a number", text)
	}
	return canonicalFloat(number, 64, path)
}

func isNil(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		return value.IsNil()
	}
	return false
}

func canonicalFloat(number float64, bits int, path string) ([]byte, error) {
	switch {
	case math.IsNaN(number) || math.IsInf(number, 0):
		return nil, notCanonical(path, "%v is not a finite number", number)
	case number == 0:
		return []byte("0"), nil
	}
	// encoding/json writes numbers as RFC 8785 does.
	if bits == 32 {
		return json.Marshal(float32(number))
	}
	return json.Marshal(number)
}

func canonicalList(value reflect.Value, path string, depth int) ([]byte, error) {
	form := []byte{'['}
	for i := range value.Len() {
		if i > 0 {
			form = append(form, ',')
		}
		member, err := canonical(value.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1)
		if err != nil {
			return nil, err
		}
		form = append(form, member...)
	}
	return append(form, ']'), nil
}

func canonicalMap(value reflect.Value, path string, depth int) ([]byte, error) {
	t := value.Type()
	if t.Elem().Kind() == reflect.Struct && t.Elem().NumField() == 0 {
		members := make([]string, 0, value.Len())
		for _, key := range value.MapKeys() {
			member, err := canonical(key, path+"{}", depth+1)
			if err != nil {
				return nil, err
			}
			members = append(members, string(member))
		}
		sort.Strings(members)
		return []byte(`{"$set":[` + strings.Join(members, ",") + `]}`), nil
	}
	if t.Key().Kind() != reflect.String {
		return nil, notCanonical(path, "its keys are %v, not text", t.Key())
	}
	names := make([]string, 0, value.Len())
	members := map[string]reflect.Value{}
	for each := value.MapRange(); each.Next(); {
		names = append(names, each.Key().String())
		members[each.Key().String()] = each.Value()
	}
	if len(names) == 1 && slices.Contains(reservedTags, names[0]) {
		// It would have the form of another type, hence the key of another call.
		return nil, notCanonical(path, "a map with the only name %s is reserved", names[0])
	}
	return canonicalObject(names, members, path, depth)
}

func canonicalStruct(value reflect.Value, path string, depth int) ([]byte, error) {
	var names []string
	members := map[string]reflect.Value{}
	if err := addFields(value, path, &names, members); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, notCanonical(path, "a %v has no field: leave the argument out, or give the "+
			"type a method LarderKey", value.Type())
	}
	return canonicalObject(names, members, path, depth)
}

// addFields adds the fields of a struct, with those of embedded structs in their place as
// encoding/json has them. One that would be left out could distinguish two calls: it is refused.
func addFields(
	value reflect.Value, path string, names *[]string, members map[string]reflect.Value,
) error {
	for i := range value.NumField() {
		field, member := value.Type().Field(i), value.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" && field.Type.Kind() == reflect.Struct {
			if err := addFields(member, path, names, members); err != nil {
				return err
			}
			continue
		}
		if !field.IsExported() || name == "-" {
			return notCanonical(path, "the field %s of %v is not part of its JSON: give the type a "+
				"method LarderKey", field.Name, value.Type())
		}
		if strings.Contains(options, "omitempty") && member.IsZero() {
			continue
		}
		if name == "" {
			name = field.Name
		}
		if _, taken := members[name]; taken {
			return notCanonical(path, "%v has two fields %s: give it a method LarderKey",
				value.Type(), name)
		}
		*names = append(*names, name)
		members[name] = member
	}
	return nil
}

func canonicalObject(
	names []string, members map[string]reflect.Value, path string, depth int,
) ([]byte, error) {
	sort.Strings(names)
	form := []byte{'{'}
	for i, name := range names {
		if !utf8.ValidString(name) {
			return nil, notCanonical(path, "a name that is not valid UTF-8")
		}
		if i > 0 {
			form = append(form, ',')
		}
		member, err := canonical(members[name], path+"."+name, depth+1)
		if err != nil {
			return nil, err
		}
		form = append(append(appendText(form, name), ':'), member...)
	}
	return append(form, '}'), nil
}

// appendText is text as in RFC 8785: encoding/json escapes more than that.
func appendText(form []byte, text string) []byte {
	const digits = "0123456789abcdef"
	form = append(form, '"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			form = append(form, '\\', c)
		case '\b':
			form = append(form, `\b`...)
		case '\f':
			form = append(form, `\f`...)
		case '\n':
			form = append(form, `\n`...)
		case '\r':
			form = append(form, `\r`...)
		case '\t':
			form = append(form, `\t`...)
		default:
			if c < ' ' {
				form = append(form, `\u00`...)
				form = append(form, digits[c>>4], digits[c&15])
			} else {
				form = append(form, c)
			}
		}
	}
	return append(form, '"')
}

// dateText is an instant in UTC, as other languages write it: with microseconds, if it has a
// fraction. One with nanoseconds, which they do not have, has nine digits.
func dateText(date time.Time) string {
	date = date.UTC()
	switch nanoseconds := date.Nanosecond(); {
	case nanoseconds == 0:
		return date.Format("2006-01-02T15:04:05+00:00")
	case nanoseconds%1000 == 0:
		return date.Format("2006-01-02T15:04:05.000000+00:00")
	}
	return date.Format("2006-01-02T15:04:05.000000000+00:00")
}
