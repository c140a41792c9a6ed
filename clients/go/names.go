package larder

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"sort"
	"strings"
	"unicode/utf8"
)

const (
	maxNamespace  = 64
	encodedHead   = 40
	encodedPrefix = "x--"
	maxKeyBytes   = 1024
	keptKeyBytes  = 900
	maxParams     = 64
	maxParamBytes = 8 * 1024
)

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

func isPlainNamespace(name string) bool {
	if name == "" || len(name) > maxNamespace || strings.HasPrefix(name, encodedPrefix) {
		return false
	}
	for i := range len(name) {
		if !plainByte(name[i]) {
			return false
		}
	}
	return name[0] != '.' && name[0] != '_' && name[0] != '-'
}

// encodeNamespace is the name as the server has it: clients/README.md, "Names".
func encodeNamespace(name string) (string, error) {
	if isPlainNamespace(name) {
		return name, nil
	}
	if name == "" {
		return "", wrong("namespace", "must not be empty")
	}
	if !utf8.ValidString(name) {
		return "", wrong("namespace", "is not valid UTF-8")
	}
	head := make([]byte, 0, encodedHead)
	for _, character := range name {
		if len(head) == encodedHead {
			break
		}
		if character >= 'A' && character <= 'Z' {
			character += 'a' - 'A'
		}
		if character >= utf8.RuneSelf || !plainByte(byte(character)) {
			character = '-'
		}
		head = append(head, byte(character))
	}
	digest := sha256.Sum256([]byte(name))
	return encodedPrefix + string(head) + "-" + hex.EncodeToString(digest[:8]), nil
}

// encodeKey is the key as the server has it: a long one is cut and ends with its digest.
func encodeKey(key string) (string, error) {
	if key == "" {
		return "", wrong("key", "must not be empty")
	}
	if !utf8.ValidString(key) {
		return "", wrong("key", "is not valid UTF-8")
	}
	if len(key) <= maxKeyBytes {
		return key, nil
	}
	end := keptKeyBytes
	for !utf8.RuneStart(key[end]) {
		end--
	}
	digest := sha256.Sum256([]byte(key))
	return key[:end] + "#" + hex.EncodeToString(digest[:]), nil
}

// encodeParams is the params as the server has them: more than it takes become one digest. It is a
// copy: work in the background uses it after the call, when the caller may change its own.
func encodeParams(params map[string]string) (map[string]string, error) {
	if len(params) == 0 {
		return nil, nil
	}
	bytes := 0
	for name, value := range params {
		if name == "" {
			return nil, wrong("params", "a name must not be empty")
		}
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, wrong("params", "%q is not valid UTF-8", name)
		}
		bytes += len(name) + len(value)
	}
	if len(params) <= maxParams && bytes <= maxParamBytes {
		return maps.Clone(params), nil
	}
	digest := sha256.Sum256(paramBytes(params))
	return map[string]string{"digest": hex.EncodeToString(digest[:])}, nil
}

// paramBytes is one text per set of params: pairs by name, each part after its length.
func paramBytes(params map[string]string) []byte {
	names := make([]string, 0, len(params))
	size := 0
	for name, value := range params {
		names = append(names, name)
		size += 16 + len(name) + len(value)
	}
	sort.Strings(names)
	text := make([]byte, 0, size)
	for _, name := range names {
		for _, part := range [2]string{name, params[name]} {
			text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
			text = append(text, part...)
		}
	}
	return text
}
