package larder_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"

	larder "larder.test/clients/go"
	"larder.test/clients/go/lardertest"
)

type nested struct {
	Name  string             `json:"name"`
	Sums  map[string]float64 `json:"sums"`
	Photo []byte             `json:"photo,omitempty"`
	Where *netip.Addr        `json:"where,omitempty"`
}

func TestWhatEachValueIsSentAs(t *testing.T) {
	check := func(name string, encoded larder.Encoded, err error, want string) {
		t.Helper()
		got := encoded.Kind.String() + " " + encoded.Text + string(encoded.Data)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
	encoded, err := larder.Auto[string]().Encode("a<b>&\u2028")
	check("text", encoded, err, "text a<b>&\u2028")
	encoded, err = larder.Auto[[]byte]().Encode([]byte{1})
	check("bytes", encoded, err, "bytes \x01")
	encoded, err = larder.Auto[any]().Encode("text")
	check("text of any", encoded, err, "text text")
	encoded, err = larder.Auto[any]().Encode(nil)
	check("nil", encoded, err, "JSON null")
	encoded, err = larder.Auto[nested]().Encode(nested{Name: "<a>"})
	check("struct", encoded, err, `JSON {"name":"<a>","sums":null}`)
	encoded, err = larder.Auto[*big.Int]().Encode(big.NewInt(7))
	check("integer", encoded, err, "JSON 7")
	encoded, err = larder.Auto[json.RawMessage]().Encode(json.RawMessage("[1, 2]"))
	check("raw", encoded, err, "JSON [1,2]")
	encoded, err = larder.JSON[[]byte]().Encode([]byte{1})
	check("JSON of bytes", encoded, err, `JSON "AQ=="`)

	_, err = larder.Auto[nested]().Encode(nested{Sums: map[string]float64{"x": math.Inf(1)}})
	checkPlace(t, err, "value.sums.x")
	_, err = larder.Auto[nested]().Encode(nested{Photo: []byte{1}})
	checkPlace(t, err, "value.photo")
	_, err = larder.Auto[any]().Encode(map[string]any{"a": []any{1, math.NaN()}})
	checkPlace(t, err, "value.a[1]")
	_, err = larder.Auto[string]().Encode("\xff")
	checkPlace(t, err, "value")
	_, err = larder.Auto[func()]().Encode(nil)
	checkPlace(t, err, "value")
	_, err = larder.Auto[nested]().Encode(nested{Name: "a\xffb"})
	checkPlace(t, err, "value.name")
	_, err = larder.Auto[any]().Encode(map[string]any{"a": []any{"ok", "\xff"}})
	checkPlace(t, err, "value.a[1]")
	_, err = larder.Auto[map[string]int]().Encode(map[string]int{"\xff": 1})
	checkPlace(t, err, "value")
	for _, text := range []string{"\ufffd", `\ufffd`} {
		encoded, err = larder.Auto[[]string]().Encode([]string{text})
		want, _ := json.Marshal([]string{text})
		check("text with the replacement character", encoded, err, "JSON "+string(want))
	}
	// The places are those that the codec refuses.
	_, err = larder.JSON[nested]().Encode(nested{
		Photo: []byte{1}, Name: "\xff", Sums: map[string]float64{"x": math.Inf(1)},
	})
	checkPlace(t, err, "value.sums.x")
	cycle := map[string]any{}
	cycle["self"] = cycle
	_, err = larder.Auto[any]().Encode(cycle)
	checkPlace(t, err, "value.self.self.self")
}

func checkPlace(t *testing.T, err error, want string) {
	t.Helper()
	var failed *larder.EncodeError
	if !errors.As(err, &failed) || failed.Path != want {
		t.Errorf("%v, not at %s", err, want)
	}
}

func TestWhatIsReadOfOtherLanguages(t *testing.T) {
	value, err := larder.Auto[any]().Decode(larder.Encoded{
		Kind: larder.KindJSON, Text: `[1,1.0,9007199254740993,18446744073709551616,1e2,null]`,
	})
	huge, _ := new(big.Int).SetString("18446744073709551616", 10)
	want := []any{int64(1), 1.0, int64(9007199254740993), huge, 100.0, nil}
	if err != nil || !reflect.DeepEqual(value, want) {
		t.Error(value, err)
	}
	count, err := larder.Auto[int64]().Decode(larder.Encoded{Kind: larder.KindText, Text: "42"})
	if err != nil || count != 42 {
		t.Error(count, err)
	}
	for kind, text := range map[larder.Kind]string{larder.KindText: "a", larder.KindJSON: "{"} {
		encoded := larder.Encoded{Kind: kind, Text: text}
		if _, err := larder.Auto[nested]().Decode(encoded); err == nil {
			t.Error(kind, "is no error")
		}
	}
	two := larder.Encoded{Kind: larder.KindJSON, Text: "1 2"}
	if _, err := larder.Auto[any]().Decode(two); err == nil {
		t.Error("two documents are no error")
	}
	text, err := larder.Bytes().Decode(larder.Encoded{Kind: larder.KindJSON, Text: "[1]"})
	if err != nil || string(text) != "[1]" {
		t.Error(text, err)
	}
}

func TestACodecOfAView(t *testing.T) {
	_, client := lardertest.Start(t, lardertest.Config{})
	ctx := context.Background()
	namespace := must[*larder.Namespace](t)(client.Namespace("test"))
	raw := larder.With(namespace, larder.Raw())
	document := larder.Encoded{Kind: larder.KindJSON, Text: `{"a": 1}`}
	must[larder.Write](t)(raw.Set(ctx, "k", document))
	read := must[larder.Result[larder.Encoded]](t)(raw.Get(ctx, "k"))
	if read.Value.Text != document.Text {
		t.Fatal(read)
	}
	numbers := larder.Of[map[string]int](namespace)
	parsed := must[larder.Result[map[string]int]](t)(numbers.Get(ctx, "k"))
	if parsed.Value["a"] != 1 {
		t.Fatal(parsed)
	}
	text := larder.Of[string](namespace)
	result := must[larder.Result[string]](t)(text.Get(ctx, "k"))
	if result.Outcome != larder.Miss || !errors.As(result.Err, new(*larder.DecodeError)) {
		t.Fatal(result)
	}
	if _, err := raw.Set(ctx, "k", larder.Encoded{}); !errors.As(err, new(*larder.EncodeError)) {
		t.Fatal(err)
	}
}

// UUID is like those of usual libraries.
type UUID [16]byte

func (u UUID) String() string { return fmt.Sprintf("%02x", u[15]) }

// owned has its method by its pointer.
type owned struct {
	id     int
	secret string
}

func (o *owned) LarderKey() any { return o.id }

type paging struct{ Page int }

type filter struct {
	paging
	Name string
}

func TestCallKeys(t *testing.T) {
	keys := must[*larder.CallKeys](t)(larder.NewCallKeys(larder.CallKeyOptions{
		Template: "{{u}}:{x}:{y}", Args: []string{"x", "y"},
	}))
	for _, each := range []struct {
		args []any
		want string
	}{
		{[]any{"a", 1}, "{u}:a:1 map[]"},
		// An argument that is not clear in the text of the key is a param, too.
		{[]any{"a:b", 1}, `{u}:a:b:1 map[x:"a:b"]`},
		{[]any{"true", nil}, `{u}:true:null map[x:"true"]`},
		{[]any{time.Unix(0, 0), 1.0}, `{u}:1970-01-01T00:00:00+00:00:1 ` +
			`map[x:{"$datetime":"1970-01-01T00:00:00+00:00"}]`},
		{[]any{filter{paging{2}, "a"}, "a"}, `{u}:{"Name":"a","Page":2}:a ` +
			`map[x:{"Name":"a","Page":2}]`},
		{[]any{UUID{15: 7}, "a"}, `{u}:07:a map[x:{"$uuid":"07"}]`},
		{[]any{owned{7, "a"}, &owned{8, "b"}}, `{u}:7:8 map[]`},
		{[]any{[]owned{{7, "a"}}, "a"}, `{u}:[7]:a map[]`},
		{[]any{json.Number("12345678901234567891"), json.Number("1.50")},
			`{u}:12345678901234567891:1.5 map[]`},
		{[]any{time.Unix(0, 1_000), time.Unix(0, 1_001)}, `{u}:1970-01-01T00:00:00.000001+00:00:` +
			`1970-01-01T00:00:00.000001001+00:00 ` +
			`map[x:{"$datetime":"1970-01-01T00:00:00.000001+00:00"} ` +
			`y:{"$datetime":"1970-01-01T00:00:00.000001001+00:00"}]`},
	} {
		key := must[larder.CallKey](t)(keys.Key(each.args...))
		if got := key.Key + " " + fmt.Sprint(map[string]string(key.Params)); got != each.want {
			t.Errorf("%s, not %s", got, each.want)
		}
	}
	for _, args := range [][]any{
		{"a"}, {"a", 1, 2}, {make(chan int), 1}, {math.NaN(), 1}, {json.Number("1e400"), 1},
		{json.Number("one"), 1}, {json.Number("NaN"), 1},
		{struct {
			Name   string
			tenant string
		}{"a", "b"}, 1},
		{struct {
			Name string
			Page int `json:"-"`
		}{"a", 2}, 1},
	} {
		if _, err := keys.Key(args...); err == nil {
			t.Error(args, "is no error")
		}
	}
	for _, template := range []string{"{", "a}", "{z}"} {
		_, err := larder.NewCallKeys(larder.CallKeyOptions{Template: template, Args: []string{"x"}})
		if !errors.As(err, new(*larder.ArgumentError)) {
			t.Error(template, err)
		}
	}
}
