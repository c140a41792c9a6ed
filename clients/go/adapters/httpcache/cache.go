// Package httpcache keeps the responses of github.com/gregjones/httpcache in Larder.
//
//	transport := httpcache.NewTransport(cache)
//	client := transport.Client()
package httpcache

import (
	"context"
	"log/slog"

	"github.com/gregjones/httpcache"

	larder "larder.test/clients/go"
)

// Cache is for httpcache.NewTransport. Its interface has neither errors nor contexts: without the
// cache, requests go to their origin.
type Cache struct{ cache *larder.Cache[[]byte] }

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
	return &Cache{larder.With(made, larder.Bytes())}, nil
}

// Get returns a response.
func (c *Cache) Get(key string) ([]byte, bool) {
	result, err := c.cache.Get(context.Background(), key)
	if err != nil {
		slog.Warn("httpcache: a response is not read", "error", err)
	}
	return result.Value, result.Found()
}

// Set stores a response.
func (c *Cache) Set(key string, response []byte) {
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
