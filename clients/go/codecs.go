package larder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Codec turns values into what is sent, and back. It must be safe for concurrent use. Encode
// returns an [*EncodeError] for a value that cannot be sent; any error of Decode makes the value a
// miss.
type Codec[T any] interface {
	Encode(value T) (Encoded, error)
	Decode(encoded Encoded) (T, error)
}

// autoCodec sends text as text, bytes as bytes, and everything else as JSON.
type autoCodec[T any] struct{}

// Auto is the codec of the contract, and the default: strings are text, []byte is bytes, and
// everything else is JSON of [encoding/json] without the escapes for HTML. Numbers that are not
// finite, bytes within other values, and text that is not valid UTF-8 are refused with the place.
//
// For T = any, what is read is a string, []byte, or JSON: nil, bool, []any, map[string]any, int64
// or *big.Int for whole numbers, and float64 for others.
func Auto[T any]() Codec[T] { return autoCodec[T]{} }

func (autoCodec[T]) Encode(value T) (Encoded, error) {
	switch value := any(value).(type) {
	case string:
		return textOf(value)
	case []byte:
		return Encoded{Kind: KindData, Data: value}, nil
	}
	return jsonOf(value, true)
}

// Values that are what was sent. A function of the type is found without an allocation.
var (
	sentText any = func(encoded Encoded) string { return encoded.Text }
	sentData any = func(encoded Encoded) []byte { return encoded.Data }
)

func (a autoCodec[T]) Decode(encoded Encoded) (T, error) {
	var sent any
	switch encoded.Kind {
	case KindText:
		sent = sentText
	case KindData:
		sent = sentData
	}
	if as, ok := sent.(func(Encoded) T); ok {
		return as(encoded), nil
	}
	return a.decode(encoded)
}

// decode is for values that are not what was sent.
func (autoCodec[T]) decode(encoded Encoded) (value T, err error) {
	switch target := any(&value).(type) {
	case *any:
		*target, err = decodeAny(encoded)
		return value, err
	}
	switch encoded.Kind {
	case KindJSON:
		if _, isBytes := any(value).([]byte); isBytes {
			return value, errors.New("expected bytes, got JSON")
		}
		return value, json.Unmarshal([]byte(encoded.Text), &value)
	case KindText:
		if isInteger(reflect.TypeFor[T]()) {
			// A counter is text of decimal digits.
			return value, json.Unmarshal([]byte(encoded.Text), &value)
		}
	}
	return value, fmt.Errorf("expected %v, got %v", reflect.TypeFor[T](), encoded.Kind)
}

func isInteger(t reflect.Type) bool {
	return t != nil && t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64
}

func textOf(value string) (Encoded, error) {
	if !utf8.ValidString(value) {
		err := errors.New("text that is not valid UTF-8: use []byte")
		return Encoded{}, &EncodeError{Path: "value", Err: err}
	}
	return Encoded{Kind: KindText, Text: value}, nil
}

// jsonOf is JSON without white space.
func jsonOf(value any, strict bool) (Encoded, error) {
	if strict {
		if err := checkJSON(value); err != nil {
			return Encoded{}, err
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		if located := locate(value, strict); located != nil {
			return Encoded{}, located
		}
		return Encoded{}, &EncodeError{Path: "value", Err: err}
	}
	encoded := Encoded{Kind: KindJSON, Text: strings.TrimSuffix(text.String(), "\n")}
	if strict {
		if err := checkText(value, encoded.Text); err != nil {
			return Encoded{}, err
		}
	}
	return encoded, nil
}

func decodeAny(encoded Encoded) (any, error) {
	switch encoded.Kind {
	case KindText:
		return encoded.Text, nil
	case KindData:
		return encoded.Data, nil
	case KindJSON:
		decoder := json.NewDecoder(strings.NewReader(encoded.Text))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		if decoder.More() {
			return nil, errors.New("more than one JSON document")
		}
		return exactNumbers(value)
	}
	return nil, fmt.Errorf("a value of the kind %v", encoded.Kind)
}

// exactNumbers replaces json.Number in a value that was just read.
func exactNumbers(value any) (any, error) {
	var err error
	switch value := value.(type) {
	case json.Number:
		if integer, err := strconv.ParseInt(value.String(), 10, 64); err == nil {
			return integer, nil
		}
		if !strings.ContainsAny(value.String(), ".eE") {
			integer, _ := new(big.Int).SetString(value.String(), 10)
			return integer, nil
		}
		return value.Float64()
	case []any:
		for i := range value {
			if value[i], err = exactNumbers(value[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range value {
			if value[name], err = exactNumbers(value[name]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

type jsonCodec[T any] struct{}

// JSON sends everything as JSON of [encoding/json], text and bytes (as base64) included. It reads
// JSON only.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

func (jsonCodec[T]) Encode(value T) (Encoded, error) { return jsonOf(value, false) }

func (jsonCodec[T]) Decode(encoded Encoded) (value T, err error) {
	if encoded.Kind != KindJSON {
		return value, fmt.Errorf("expected JSON, got %v", encoded.Kind)
	}
	return value, json.Unmarshal([]byte(encoded.Text), &value)
}

type rawCodec struct{}

// Raw leaves values as they are sent, for programs that encode by themselves.
func Raw() Codec[Encoded] { return rawCodec{} }

func (rawCodec) Encode(value Encoded) (Encoded, error)   { return value, nil }
func (rawCodec) Decode(encoded Encoded) (Encoded, error) { return encoded, nil }

type bytesCodec struct{}

// Bytes sends bytes and reads every kind as its bytes: text and JSON as their UTF-8.
func Bytes() Codec[[]byte] { return bytesCodec{} }

func (bytesCodec) Encode(value []byte) (Encoded, error) {
	return Encoded{Kind: KindData, Data: value}, nil
}

func (bytesCodec) Decode(encoded Encoded) ([]byte, error) {
	if encoded.Kind == KindData {
		return encoded.Data, nil
	}
	return []byte(encoded.Text), nil
}
