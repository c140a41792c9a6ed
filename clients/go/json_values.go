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
	return walk(reflect.ValueOf(value), []string{"value"})
}

// locate names the place that JSON cannot represent; nil if there is no such place.
func locate(value any) error {
	if value == nil {
		return nil
	}
	return walk(reflect.ValueOf(value), []string{"value"})
}

func refuse(path []string, format string, values ...any) error {
	return &EncodeError{Path: strings.Join(path, ""), Err: fmt.Errorf(format, values...)}
}

func walk(value reflect.Value, path []string) error {
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
	case reflect.Complex64, reflect.Complex128, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return refuse(path, "a %v cannot be JSON", value.Type())
	case reflect.Interface:
		return walk(value.Elem(), path)
	case reflect.Pointer:
		// A pointer can lead to itself.
		return walk(value.Elem(), append(path, ""))
	case reflect.Slice, reflect.Array:
		if value.Kind() == reflect.Slice && value.Type().Elem() == byteSlice && !value.IsNil() {
			return refuse(path, "bytes within another value: use text, or another codec")
		}
		for i := range value.Len() {
			if err := walk(value.Index(i), append(path, fmt.Sprintf("[%d]", i))); err != nil {
				return err
			}
		}
	case reflect.Map:
		for each := value.MapRange(); each.Next(); {
			step := append(path, fmt.Sprintf(".%v", each.Key()))
			if err := walk(each.Value(), step); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return walkStruct(value, path)
	}
	return nil
}

func walkStruct(value reflect.Value, path []string) error {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || !field.IsExported() && !field.Anonymous {
			continue
		}
		if name == "" {
			name = field.Name
		}
		if err := walk(value.Field(i), append(path, "."+name)); err != nil {
			return err
		}
	}
	return nil
}
