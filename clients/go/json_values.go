package larder

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"
)

// maxDepth is the server's limit of arrays and objects within each other.
const maxDepth = 128

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	byteSlice     = reflect.TypeFor[byte]()
)

func marshalsItself(t reflect.Type) bool {
	return t.Implements(jsonMarshaler) || t.Implements(textMarshaler) ||
		reflect.PointerTo(t).Implements(jsonMarshaler) ||
		reflect.PointerTo(t).Implements(textMarshaler)
}

// mayHoldBytes remembers which types can hold bytes, so that most values are not walked.
var mayHoldBytes sync.Map

func holdsBytes(t reflect.Type) bool {
	if known, ok := mayHoldBytes.Load(t); ok {
		return known.(bool)
	}
	holds := findBytes(t, map[reflect.Type]bool{})
	mayHoldBytes.Store(t, holds)
	return holds
}

func findBytes(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || marshalsItself(t) {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Slice:
		return t.Elem() == byteSlice || findBytes(t.Elem(), seen)
	case reflect.Array, reflect.Pointer, reflect.Map:
		return findBytes(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if findBytes(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// checkJSON refuses what encoding/json would change: bytes within another value.
func checkJSON(value any) error {
	t := reflect.TypeOf(value)
	if t == nil || !holdsBytes(t) {
		return nil
	}
	return walk(reflect.ValueOf(value), []string{"value"}, true)
}

// checkText refuses text that encoding/json has changed: it replaces what is not valid UTF-8.
func checkText(value any, encoded string) error {
	if !strings.Contains(encoded, `\ufffd`) && !strings.ContainsRune(encoded, utf8.RuneError) {
		return nil
	}
	return locate(value, true)
}

// locate names the place that JSON cannot represent; nil if there is no such place.
func locate(value any, strict bool) error {
	if value == nil {
		return nil
	}
	return walk(reflect.ValueOf(value), []string{"value"}, strict)
}

func refuse(path []string, format string, values ...any) error {
	return &EncodeError{Path: strings.Join(path, ""), Err: fmt.Errorf(format, values...)}
}

// walk finds the first place that JSON cannot represent. strict: also one that encoding/json
// represents in another form.
func walk(value reflect.Value, path []string, strict bool) error {
	if len(path) > maxDepth {
		err := errors.New("more than 128 levels, or a cycle")
		return &EncodeError{Path: strings.Join(path[:4], ""), Err: err}
	}
	if !value.IsValid() || marshalsItself(value.Type()) {
		return nil
	}
	switch value.Kind() {
	case reflect.Float32, reflect.Float64:
		if number := value.Float(); math.IsNaN(number) || math.IsInf(number, 0) {
			return refuse(path, "%v is not a number of JSON", number)
		}
	case reflect.String:
		if strict && !utf8.ValidString(value.String()) {
			return refuse(path, "text that is not valid UTF-8")
		}
	case reflect.Complex64, reflect.Complex128, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return refuse(path, "a %v cannot be JSON", value.Type())
	case reflect.Interface:
		return walk(value.Elem(), path, strict)
	case reflect.Pointer:
		// A pointer can lead to itself.
		return walk(value.Elem(), append(path, ""), strict)
	case reflect.Slice, reflect.Array:
		isBytes := value.Kind() == reflect.Slice && value.Type().Elem() == byteSlice
		if strict && isBytes && !value.IsNil() {
			return refuse(path, "bytes within another value: use text, or another codec")
		}
		for i := range value.Len() {
			step := append(path, fmt.Sprintf("[%d]", i))
			if err := walk(value.Index(i), step, strict); err != nil {
				return err
			}
		}
	case reflect.Map:
		for each := value.MapRange(); each.Next(); {
			key := each.Key()
			if strict && key.Kind() == reflect.String && !utf8.ValidString(key.String()) &&
				!marshalsItself(key.Type()) {
				return refuse(path, "the name %q is not valid UTF-8", key.String())
			}
			step := append(path, fmt.Sprintf(".%v", key))
			if err := walk(each.Value(), step, strict); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return walkStruct(value, path, strict)
	}
	return nil
}

func walkStruct(value reflect.Value, path []string, strict bool) error {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || !field.IsExported() && !field.Anonymous {
			continue
		}
		if name == "" {
			name = field.Name
		}
		if err := walk(value.Field(i), append(path, "."+name), strict); err != nil {
			return err
		}
	}
	return nil
}
