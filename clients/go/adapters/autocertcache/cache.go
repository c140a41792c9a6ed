// Package autocertcache keeps the certificates of golang.org/x/crypto/acme/autocert in Larder, so
// that the replicas of a service share them.
//
//	manager := &autocert.Manager{Cache: cache, Prompt: autocert.AcceptTOS}
//
// They hold private keys. The server must keep them for as long as certificates live: with its
// default, a max_ttl of 7 days, each is ordered anew every week.
package autocertcache

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/crypto/acme/autocert"

	larder "larder.test/clients/go"
)

// Cache is for autocert.Manager. A cache that is away is an error: a miss would order certificates.
type Cache struct{ cache *larder.Cache[[]byte] }

var _ autocert.Cache = (*Cache)(nil)

var errDegraded = errors.New("autocertcache: the store of the cache is away")

// New is a cache in a namespace.
func New(
	client *larder.Client, namespace string, options ...larder.NamespaceOption,
) (*Cache, error) {
	options = append(slices.Clip(options), larder.Raise)
	made, err := client.Namespace(namespace, options...)
	if err != nil {
		return nil, err
	}
	return &Cache{larder.With(made, larder.Bytes())}, nil
}

// Get returns what Put has stored, or autocert.ErrCacheMiss.
func (c *Cache) Get(ctx context.Context, key string) ([]byte, error) {
	result, err := c.cache.Get(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case result.Found():
		return result.Value, nil
	case result.Degraded:
		return nil, errDegraded
	}
	return nil, autocert.ErrCacheMiss
}

// Put stores data for as long as the server permits.
func (c *Cache) Put(ctx context.Context, key string, data []byte) error {
	write, err := c.cache.Set(ctx, key, data, larder.TTL(larder.Forever))
	switch {
	case err != nil || write.Stored:
		return err
	case write.Degraded:
		return errDegraded
	}
	return errors.Join(errors.New("autocertcache: not stored: "+string(write.Reason)), write.Err)
}

// Delete removes data, if there is any.
func (c *Cache) Delete(ctx context.Context, key string) error {
	_, err := c.cache.Delete(ctx, key)
	return err
}
