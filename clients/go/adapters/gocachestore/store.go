// Package gocachestore is a store of github.com/eko/gocache in Larder.
//
//	values, err := gocachestore.New[User](client, "users")
//	users := cache.New[User](values)
package gocachestore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/eko/gocache/lib/v4/store"

	larder "larder.test/clients/go"
)

// Type is what GetType returns.
const Type = "larder"

// Store is for cache.New and its chains, loaders and metrics. Values have the type T: text and
// bytes are stored as they are, others as JSON, which clients in other languages read. A cache that
// is away is an error, after which a loadable cache loads.
type Store[T any] struct {
	cache   *larder.Cache[T]
	options []store.Option
}

var _ store.StoreInterface = (*Store[any])(nil)

var errDegraded = errors.New("gocachestore: the store of the cache is away")

// New is a store of a namespace. A value without an expiration has the TTL of the handle, else the
// default of the namespace.
func New[T any](
	client *larder.Client, namespace string, options ...larder.NamespaceOption,
) (*Store[T], error) {
	made, err := larder.For[T](client, namespace, append(slices.Clip(options), larder.Raise)...)
	if err != nil {
		return nil, err
	}
	return &Store[T]{cache: made}, nil
}

// WithDefaults is a store whose writes have these options, unless they have their own.
func (s *Store[T]) WithDefaults(options ...store.Option) *Store[T] {
	return &Store[T]{cache: s.cache, options: options}
}

func textOf(key any) (string, error) {
	if text, ok := key.(string); ok {
		return text, nil
	}
	return "", fmt.Errorf("gocachestore: the key is a %T, not text", key)
}

// Get returns a value, or an error that is store.NotFound.
func (s *Store[T]) Get(ctx context.Context, key any) (any, error) {
	value, _, err := s.GetWithTTL(ctx, key)
	return value, err
}

// GetWithTTL returns a value with the rest of its life.
func (s *Store[T]) GetWithTTL(ctx context.Context, key any) (any, time.Duration, error) {
	text, err := textOf(key)
	if err != nil {
		return nil, 0, err
	}
	found, err := s.cache.Get(ctx, text, larder.MaxStale(0))
	switch {
	case err != nil:
		return nil, 0, err
	case found.Found():
		return found.Value, found.TTLRemaining, nil
	case found.Degraded:
		return nil, 0, errDegraded
	}
	// The error of a codec that cannot read the value is the cause.
	return nil, 0, store.NotFoundWithCause(found.Err)
}

// hasNil reports whether nil is a value of a type, rather than the lack of one.
func hasNil(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Map, reflect.Slice:
		return true
	}
	return false
}

// Set stores a value of the type T. One whose expiration is negative is deleted.
func (s *Store[T]) Set(
	ctx context.Context, key any, value any, options ...store.Option,
) error {
	text, err := textOf(key)
	if err != nil {
		return err
	}
	typed, ok := value.(T)
	if !ok && (value != nil || !hasNil(reflect.TypeFor[T]())) {
		return fmt.Errorf("gocachestore: the value is a %T, not a %v", value, reflect.TypeFor[T]())
	}
	all := store.ApplyOptionsWithDefault(store.ApplyOptions(s.options...), options...)
	set := []larder.SetOption{larder.Tags(all.Tags...)}
	if all.Expiration != 0 {
		set = append(set, larder.TTL(all.Expiration))
	}
	write, err := s.cache.Set(ctx, text, typed, set...)
	switch {
	case err != nil || write.Stored || write.Reason == larder.Expired:
		return err
	case write.Degraded:
		return errDegraded
	}
	return errors.Join(errors.New("gocachestore: not stored: "+string(write.Reason)), write.Err)
}

// Delete removes a value, if there is one.
func (s *Store[T]) Delete(ctx context.Context, key any) error {
	text, err := textOf(key)
	if err != nil {
		return err
	}
	_, err = s.cache.Delete(ctx, text)
	return err
}

// Invalidate removes the values with any of the tags.
func (s *Store[T]) Invalidate(ctx context.Context, options ...store.InvalidateOption) error {
	tags := store.ApplyInvalidateOptions(options...).Tags
	if len(tags) == 0 {
		return nil
	}
	_, err := s.cache.Invalidate(ctx, larder.Targets{Tags: tags})
	return err
}

// Clear removes all values of the namespace.
func (s *Store[T]) Clear(ctx context.Context) error {
	_, err := s.cache.InvalidateNamespace(ctx)
	return err
}

// GetType returns [Type].
func (s *Store[T]) GetType() string { return Type }
