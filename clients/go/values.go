package larder

import (
	"bytes"
	"errors"

	"larder.test/clients/go/larderpb"
)

// Kind is how a value is sent: as text, as bytes, or as one JSON document.
type Kind uint8

// The kinds of values.
const (
	KindText Kind = iota + 1
	KindData
	KindJSON
)

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case KindText:
		return "text"
	case KindData:
		return "bytes"
	case KindJSON:
		return "JSON"
	}
	return "unknown"
}

// Encoded is a value as it is sent.
type Encoded struct {
	Kind Kind
	// Text is the text or the JSON document.
	Text string
	// Data is the bytes of KindData. They are shared with the program, and must not be changed.
	Data []byte
}

func (e Encoded) size() int { return len(e.Text) + len(e.Data) }

func (e Encoded) message() (*larderpb.Value, error) {
	switch e.Kind {
	case KindText:
		return &larderpb.Value{Kind: &larderpb.Value_Text{Text: e.Text}}, nil
	case KindData:
		return &larderpb.Value{Kind: &larderpb.Value_Data{Data: e.Data}}, nil
	case KindJSON:
		return &larderpb.Value{Kind: &larderpb.Value_Json{Json: e.Text}}, nil
	}
	return nil, &EncodeError{Path: "value", Err: errors.New("the codec returned no kind")}
}

func encodedOf(value *larderpb.Value) (Encoded, error) {
	switch kind := value.GetKind().(type) {
	case *larderpb.Value_Text:
		return Encoded{Kind: KindText, Text: kind.Text}, nil
	case *larderpb.Value_Data:
		return Encoded{Kind: KindData, Data: kind.Data}, nil
	case *larderpb.Value_Json:
		return Encoded{Kind: KindJSON, Text: kind.Json}, nil
	}
	return Encoded{}, errors.New("a value of a kind that this release does not have")
}

// clone has bytes of its own.
func (e Encoded) clone() Encoded {
	e.Data = bytes.Clone(e.Data)
	return e
}
