package conformance

import (
	"context"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	larder "larder.test/clients/go"
)

// TestMatrix writes the values that other languages read, and reads those that they have written:
// `clients/conformance/matrix.sh` runs it, first with LARDER_MATRIX=write and then with `read`.
func TestMatrix(t *testing.T) {
	mode := os.Getenv("LARDER_MATRIX")
	if mode == "" {
		t.Skip("matrix.sh runs it")
	}
	suite, _ := load(t)
	client, err := larder.New(
		os.Getenv("LARDER_MATRIX_TARGET"), larder.WithPreset(larder.PresetLocal),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if mode == "write" {
		writeMatrix(t, client, suite.Matrix)
		return
	}
	for _, writer := range strings.Fields(os.Getenv("LARDER_MATRIX_WRITERS")) {
		t.Run("of-"+writer, func(t *testing.T) { readMatrix(t, client, writer, suite.Matrix) })
	}
}

func paramsOf(row MatrixRow) larder.Params {
	params := larder.Params{}
	if row.Params != nil {
		for name, value := range expand(row.Params, nil).(Fields) {
			params[name] = value.(string)
		}
	}
	return params
}

func writeMatrix(t *testing.T, client *larder.Client, rows []MatrixRow) {
	ctx := context.Background()
	cache, err := larder.For[any](client, "matrix-go")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		key := expand(row.Key, nil).(string)
		var write larder.Write
		switch {
		case row.Increment != nil:
			sum, err := cache.Increment(ctx, key, *row.Increment)
			if err != nil || sum.Value != *row.Increment {
				t.Fatal(key, sum, err)
			}
			continue
		case row.Fetch != nil:
			load := func(context.Context) (any, error) { return expand(row.Fetch, nil), nil }
			result, err := cache.GetOrFetch(ctx, key, load)
			if err != nil || result.Fill == nil {
				t.Fatal(key, result, err)
			}
			write = *result.Fill
		default:
			value := expand(row.Value, nil)
			write, err = cache.Set(ctx, key, value, paramsOf(row), larder.Tags(row.Tags...))
		}
		if err != nil || !write.Stored {
			t.Fatal(key, write, err)
		}
	}
}

func readMatrix(t *testing.T, client *larder.Client, writer string, rows []MatrixRow) {
	cache, err := larder.For[any](client, "matrix-"+writer)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if writer == "node" && slices.Contains(row.Needs, "big_integers") {
			continue
		}
		key := expand(row.Key, nil).(string)
		result, err := cache.Get(context.Background(), key, paramsOf(row))
		if err != nil || result.Outcome != larder.Hit {
			t.Errorf("%.40s: %v %v", key, result.Outcome, err)
			continue
		}
		if !same(expand(row.Value, nil), result.Value) {
			t.Errorf("%.40s: %s, not %s", key, shown(result.Value), shown(row.Value))
		}
		tags := slices.Clone(row.Tags)
		sort.Strings(tags)
		if !slices.Equal(tags, result.Tags) {
			t.Errorf("%.40s: tags %v, not %v", key, result.Tags, tags)
		}
	}
}
