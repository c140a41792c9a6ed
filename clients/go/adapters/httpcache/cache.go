// Package httpcache keeps the responses of github.com/gregjones/httpcache in Larder.
//
//	transport := httpcache.NewTransport(cache)
//	client := transport.Client()
//
// That transport is a private cache, of one identity, and names responses by their URL alone. In
// Larder all processes with the namespace share them. So private responses are not kept; but a
// response to a request with credentials is not always marked as private. Programs with several
// identities have a namespace for each.
package httpcache

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gregjones/httpcache"

	larder "larder.test/clients/go"
)

// Cache is for httpcache.NewTransport. Its interface has neither errors nor contexts: without the
// cache, requests go to their origin.
type Cache struct {
	cache *larder.Cache[[]byte]
	// private: private responses are kept.
	private bool
}

var _ httpcache.Cache = (*Cache)(nil)

// New is a cache in a namespace, whose TTL bounds the life of responses; how long they are fresh is
// in their headers.
func New(
	client *larder.Client, namespace string, options ...larder.NamespaceOption,
) (*Cache, error) {
	made, err := client.Namespace(namespace, options...)
	if err != nil {
		return nil, err
	}
	return &Cache{cache: larder.With(made, larder.Bytes())}, nil
}

// WithPrivate is a cache of the same namespace that keeps private responses, too. All that use the
// namespace must act for the same identity.
func (c *Cache) WithPrivate() *Cache { return &Cache{cache: c.cache, private: true} }

// Get returns a response.
func (c *Cache) Get(key string) ([]byte, bool) {
	result, err := c.cache.Get(context.Background(), key, larder.MaxStale(0))
	if err != nil {
		slog.Warn("httpcache: a response is not read", "error", err)
	}
	return result.Value, result.Found()
}

// Set stores a response. One that is private is not stored, and removes the one before it.
func (c *Cache) Set(key string, response []byte) {
	if !c.private && isPrivate(response) {
		c.Delete(key)
		return
	}
	if _, err := c.cache.Set(context.Background(), key, response); err != nil {
		slog.Warn("httpcache: a response is not stored", "error", err)
	}
}

// Delete removes a response. If the cache is away, the old one may be served again.
func (c *Cache) Delete(key string) {
	if _, err := c.cache.Delete(context.Background(), key); err != nil {
		slog.Warn("httpcache: a response is not removed", "error", err)
	}
}

// varied is what httpcache puts before the names of headers of the request that the response varies
// by.
const varied = "X-Varied-"

// isPrivate reports whether a response is for one identity.
func isPrivate(response []byte) bool {
	parsed, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(response)), nil)
	if err != nil {
		// Bytes that are no response have no identity; a response that cannot be read may have.
		return bytes.HasPrefix(response, []byte("HTTP/"))
	}
	defer func() { _ = parsed.Body.Close() }()
	for _, name := range []string{"Set-Cookie", varied + "Authorization", varied + "Cookie"} {
		if len(parsed.Header.Values(name)) > 0 {
			return true
		}
	}
	for _, line := range parsed.Header.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(directive), "=")
			if strings.EqualFold(name, "private") {
				return true
			}
		}
	}
	return false
}
