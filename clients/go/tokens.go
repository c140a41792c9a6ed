package larder

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// Token is a bearer token.
type Token struct {
	Value string
	// ExpiresAt is the end of its life. The zero time: it is asked for again after a minute.
	ExpiresAt time.Time
}

// TokenProvider returns a token. It is asked again before that expires, and when the server refuses
// it, by one call at a time. The context is that of the call which needs the token.
type TokenProvider func(ctx context.Context) (Token, error)

const (
	defaultTokenLife = time.Minute
	// tokenMargin keeps tokens from expiring on the way to the server.
	tokenMargin = 30 * time.Second
)

// authorization keeps the header `authorization`.
type authorization struct {
	provider TokenProvider
	// asking has the place of the call that asks the provider.
	asking chan struct{}

	mu        sync.Mutex
	header    string
	goodUntil time.Time
	static    bool
}

func newAuthorization(token string, provider TokenProvider) (*authorization, error) {
	if provider != nil {
		return &authorization{provider: provider, asking: make(chan struct{}, 1)}, nil
	}
	if token == "" {
		return nil, nil
	}
	header, err := bearer(token)
	return &authorization{header: header, static: true}, err
}

func bearer(token string) (string, error) {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return "", wrong("Token", "expected printable ASCII without white space")
		}
	}
	if token == "" {
		return "", wrong("Token", "must not be empty")
	}
	return "Bearer " + token, nil
}

func (a *authorization) renews() bool { return a != nil && !a.static }

func (a *authorization) current() (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.header, a.static || a.header != "" && time.Now().Before(a.goodUntil)
}

// get is the header. It waits for the provider if the token has expired.
func (a *authorization) get(ctx context.Context) (string, error) {
	if header, ok := a.current(); ok {
		return header, nil
	}
	select {
	case a.asking <- struct{}{}:
	case <-ctx.Done():
		return "", ended(ctx)
	}
	defer func() { <-a.asking }()
	if header, ok := a.current(); ok {
		return header, nil
	}
	token, err := a.provider(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return "", ended(ctx)
		}
		var failure *Error
		if errors.As(err, &failure) && isOutage(failure) {
			return "", err
		}
		return "", &Error{
			Code: codes.Unavailable, Reason: reasonNoToken, cause: err,
			Message: "the token provider failed: " + err.Error(),
		}
	}
	header, err := bearer(token.Value)
	if err != nil {
		return "", err
	}
	life := defaultTokenLife
	if !token.ExpiresAt.IsZero() {
		life = time.Until(token.ExpiresAt)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// A token of a short life is used for nine tenths of it.
	a.header, a.goodUntil = header, time.Now().Add(life-min(tokenMargin, life/10))
	return header, nil
}

// refuse forgets the token, because the server does not accept it.
func (a *authorization) refuse() {
	if !a.renews() {
		return
	}
	a.mu.Lock()
	a.goodUntil = time.Time{}
	a.mu.Unlock()
}
