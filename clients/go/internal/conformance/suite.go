// Package conformance runs the conformance cases of all client libraries: see
// clients/conformance/README.md.
package conformance

import (
	"bytes"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Fields is a map of a case.
type Fields = map[string]any

// Suite is the content of suite.json.
type Suite struct {
	Cases []Case `json:"cases"`
	// Configuration has the settings of the namespaces: milliseconds and bytes.
	Configuration map[string]map[string]float64 `json:"configuration"`
	Matrix        []MatrixRow                   `json:"matrix"`
}

// Case is one case.
type Case struct {
	ID        string            `json:"id"`
	Needs     []string          `json:"needs"`
	Via       string            `json:"via"`
	Namespace any               `json:"namespace"`
	Clients   map[string]Fields `json:"clients"`
	Handles   map[string]Fields `json:"handles"`
	Loaders   map[string]Fields `json:"loaders"`
	Steps     []Fields          `json:"steps"`
}

// MatrixRow is a value that each language writes and all languages read.
type MatrixRow struct {
	Key       any      `json:"key"`
	Value     any      `json:"value"`
	Params    any      `json:"params"`
	Tags      []string `json:"tags"`
	Increment *int64   `json:"increment"`
	Fetch     any      `json:"fetch"`
	Needs     []string `json:"needs"`
}

// Folder is clients/conformance.
func Folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../../conformance")
}

// Load reads the suite.
func Load() (*Suite, error) {
	text, err := os.ReadFile(filepath.Join(Folder(), "suite.json"))
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	suite := &Suite{}
	if err := decoder.Decode(suite); err != nil {
		return nil, err
	}
	for i := range suite.Cases {
		one := &suite.Cases[i]
		one.Namespace = exact(one.Namespace)
		for _, maps := range []map[string]Fields{one.Clients, one.Handles, one.Loaders} {
			for name := range maps {
				maps[name] = exact(maps[name]).(Fields)
			}
		}
		for j := range one.Steps {
			one.Steps[j] = exact(one.Steps[j]).(Fields)
		}
	}
	for i := range suite.Matrix {
		row := &suite.Matrix[i]
		row.Key, row.Value = exact(row.Key), exact(row.Value)
		row.Params, row.Fetch = exact(row.Params), exact(row.Fetch)
	}
	return suite, nil
}

// exact replaces numbers of JSON by int64, *big.Int and float64.
func exact(value any) any {
	switch value := value.(type) {
	case json.Number:
		if strings.ContainsAny(value.String(), ".eE") {
			number, _ := value.Float64()
			return number
		}
		if integer, err := value.Int64(); err == nil {
			return integer
		}
		integer, _ := new(big.Int).SetString(value.String(), 10)
		return integer
	case []any:
		for i := range value {
			value[i] = exact(value[i])
		}
	case Fields:
		for name := range value {
			value[name] = exact(value[name])
		}
	}
	return value
}

// Skips are reasons by the name of a test, such as `client/ttl/zero`; `*` is every kind of server.
func Skips() (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(Folder(), "skips", "go.txt"))
	if err != nil {
		return nil, err
	}
	skips := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		skips[name] = strings.TrimSpace(reason)
	}
	return skips, nil
}
