// Package fiberstorage is a storage of github.com/gofiber/fiber/v3 in Larder, for its middlewares
// such as session, cache and limiter.
package fiberstorage

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v3"

	larder "larder.test/clients/go"
)

// Storage is for the configuration of middlewares. A cache that is away is an error, which the
// middlewares handle in their own ways. That for sessions panics, which ends the process unless
// Fiber's middleware recover comes before it.
type Storage struct {
	cache *larder.Cache[[]byte]
	close func() error
}

var _ fiber.Storage = (*Storage)(nil)

var errDegraded = errors.New("fiberstorage: the store of the cache is away")

// New is a storage in a namespace, which it should have for itself: Reset removes all of it. Close
// closes the client.
func New(
	client *larder.Client, namespace string, options ...larder.NamespaceOption,
) (*Storage, error) {
	options = append(slices.Clip(options), larder.Raise)
	made, err := client.Namespace(namespace, options...)
	if err != nil {
		return nil, err
	}
	return &Storage{larder.With(made, larder.Bytes()), client.Close}, nil
}

// stored is the key of a value. It is a copy: Fiber's strings are valid during a request only, and
// a near cache keeps keys. A cookie can have bytes that no key has; the middleware for sessions
// panics at an error of its storage.
func stored(key string) string {
	if !utf8.ValidString(key) {
		return "not-utf-8:" + hex.EncodeToString([]byte(key))
	}
	return strings.Clone(key)
}

// GetWithContext returns nil if there is no value.
func (s *Storage) GetWithContext(ctx context.Context, key string) ([]byte, error) {
	if key == "" {
		return nil, nil
	}
	result, err := s.cache.Get(ctx, stored(key), larder.MaxStale(0))
	if err == nil && result.Degraded && !result.Found() {
		err = errDegraded
	}
	return result.Value, err
}

// SetWithContext stores a value. An expiration of 0 is the longest that the server permits.
func (s *Storage) SetWithContext(
	ctx context.Context, key string, value []byte, expiration time.Duration,
) error {
	if key == "" || len(value) == 0 {
		return nil
	}
	if expiration == 0 {
		expiration = larder.Forever
	}
	write, err := s.cache.Set(ctx, stored(key), value, larder.TTL(expiration))
	switch {
	case err != nil || write.Stored || write.Reason == larder.Expired:
		return err
	case write.Degraded:
		return errDegraded
	}
	return errors.Join(errors.New("fiberstorage: not stored: "+string(write.Reason)), write.Err)
}

// DeleteWithContext removes a value, if there is one.
func (s *Storage) DeleteWithContext(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	_, err := s.cache.Delete(ctx, stored(key))
	return err
}

// ResetWithContext removes all values of the namespace.
func (s *Storage) ResetWithContext(ctx context.Context) error {
	_, err := s.cache.InvalidateNamespace(ctx)
	return err
}

// Get is GetWithContext without a context.
func (s *Storage) Get(key string) ([]byte, error) {
	return s.GetWithContext(context.Background(), key)
}

// Set is SetWithContext without a context.
func (s *Storage) Set(key string, value []byte, expiration time.Duration) error {
	return s.SetWithContext(context.Background(), key, value, expiration)
}

// Delete is DeleteWithContext without a context.
func (s *Storage) Delete(key string) error {
	return s.DeleteWithContext(context.Background(), key)
}

// Reset is ResetWithContext without a context.
func (s *Storage) Reset() error { return s.ResetWithContext(context.Background()) }

// Close closes the client.
func (s *Storage) Close() error { return s.close() }
