package larder

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// Loader computes a missing value. Its context has the values of the call that began the
// computation, and ends when nothing waits for the value any more: pass it on. A loader must not
// ask for the key that it computes: it would wait for itself.
type Loader[T any] func(ctx context.Context) (T, error)

// LoaderOf is a loader whose value decides how it is cached: see [NewLoaded].
type LoaderOf[T any] func(ctx context.Context) (Loaded[T], error)

// ManyLoader computes several missing values. A key without a value stays a miss.
type ManyLoader[T any] func(ctx context.Context, keys []string) (map[string]T, error)

// ManyLoaderOf is as [ManyLoader], with values that decide how they are cached.
type ManyLoaderOf[T any] func(ctx context.Context, keys []string) (map[string]Loaded[T], error)

// Loaded is a computed value with how it is cached.
type Loaded[T any] struct {
	Value   T
	options callOptions
}

// NewLoaded is a computed value with its own [TTL] and [Tags], or with [NoStore].
func NewLoaded[T any](value T, options ...LoadedOption) Loaded[T] {
	loaded := Loaded[T]{Value: value}
	for _, option := range options {
		option.forLoaded(&loaded.options)
	}
	return loaded
}

func (l Loader[T]) plain() LoaderOf[T] {
	if l == nil {
		return nil
	}
	return func(ctx context.Context) (Loaded[T], error) {
		value, err := l(ctx)
		return Loaded[T]{Value: value}, err
	}
}

func (l ManyLoader[T]) plain() ManyLoaderOf[T] {
	if l == nil {
		return nil
	}
	return func(ctx context.Context, keys []string) (map[string]Loaded[T], error) {
		values, err := l(ctx, keys)
		loaded := make(map[string]Loaded[T], len(values))
		for key, value := range values {
			loaded[key] = Loaded[T]{Value: value}
		}
		return loaded, err
	}
}

// loaderPanic is the panic of a loader, which its callers repeat. A [PanicError] that is a cause of
// another error is none: a loader can return one, and a token provider can panic.
type loaderPanic struct{ *PanicError }

func (p loaderPanic) Unwrap() error { return p.PanicError }

var errGoexit = errors.New("larder: the loader, or a codec, has ended its goroutine")

// newPanicError is for a deferred function.
func newPanicError(panicked any) *PanicError {
	return &PanicError{Value: panicked, Stack: debug.Stack()}
}

// untilEnded runs a loader until it returns or the context ends, whichever is first. A panic is a
// loaderPanic.
func untilEnded[R any](ctx context.Context, load func(context.Context) (R, error)) (R, error) {
	type answer struct {
		value R
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		result := answer{err: errGoexit}
		defer func() {
			if panicked := recover(); panicked != nil {
				result = answer{err: loaderPanic{newPanicError(panicked)}}
			}
			done <- result
		}()
		value, err := load(ctx)
		result = answer{value, err}
	}()
	select {
	case result := <-done:
		return result.value, result.err
	case <-ctx.Done():
		var none R
		return none, ended(ctx)
	}
}

// errorName is the name of an error's type: the reason of an abandoned lease.
func errorName(err error) string {
	if panicked, ok := err.(loaderPanic); ok {
		err = panicked.PanicError
	}
	for {
		name := fmt.Sprintf("%T", err)
		inner := errors.Unwrap(err)
		wraps := strings.HasPrefix(name, "*fmt.") || strings.HasPrefix(name, "*errors.")
		if inner == nil || !wraps {
			return strings.TrimPrefix(name, "*")
		}
		err = inner
	}
}
