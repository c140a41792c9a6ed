// Package scsstore keeps the sessions of github.com/alexedwards/scs in Larder.
//
//	sessions := scs.New()
//	sessions.Store, err = scsstore.New(client, "sessions")
package scsstore

import (
	"context"
	"errors"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	larder "larder.test/clients/go"
)

// Store is for scs.SessionManager. A cache that is away is an error, not the end of all sessions.
type Store struct{ cache *larder.Cache[[]byte] }

var _ scs.CtxStore = (*Store)(nil)

var errDegraded = errors.New("scsstore: the store of the cache is away")

// New is a store of a namespace. The server shortens lifetimes beyond its max_ttl (7 days), and
// evicts sessions when it is full.
func New(
	client *larder.Client, namespace string, options ...larder.NamespaceOption,
) (*Store, error) {
	options = append(slices.Clip(options), larder.Raise)
	made, err := client.Namespace(namespace, options...)
	if err != nil {
		return nil, err
	}
	return &Store{larder.With(made, larder.Bytes())}, nil
}

// FindCtx reads a session. A cookie can have bytes that no token has: there is no such session.
func (s *Store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if token == "" || !utf8.ValidString(token) {
		return nil, false, nil
	}
	result, err := s.cache.Get(ctx, token, larder.MaxStale(0))
	if err == nil && result.Degraded && !result.Found() {
		err = errDegraded
	}
	return result.Value, result.Found(), err
}

// CommitCtx writes a session that ends at expiry.
func (s *Store) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	write, err := s.cache.Set(ctx, token, b, larder.TTL(time.Until(expiry)))
	switch {
	case err != nil:
		return err
	case write.Stored || write.Reason == larder.Expired:
		return nil
	case write.Degraded:
		return errDegraded
	}
	return errors.Join(errors.New("scsstore: not stored: "+string(write.Reason)), write.Err)
}

// DeleteCtx ends a session.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	_, err := s.cache.Delete(ctx, token)
	return err
}

// Find reads a session.
func (s *Store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit writes a session that ends at expiry.
func (s *Store) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}

// Delete ends a session.
func (s *Store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
