package larder

import (
	"context"
	"strings"
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
// it, by one call at a time. The context has the values of the call that needs the token, and ends
// after 10 s. Calls do not wait for it beyond their own time limits. An error is an outage, and so
// is a token that no header can have.
type TokenProvider func(ctx context.Context) (Token, error)

const (
	defaultTokenLife = time.Minute
	// tokenMargin keeps tokens from expiring on the way to the server.
	tokenMargin = 30 * time.Second
	// tokenTime is how long a provider is waited for: after that it is asked again.
	tokenTime = 10 * time.Second
	// maxAsked is the number of providers that run although they are not waited for any more.
	maxAsked = 8
)

// authorization keeps the header `authorization`.
type authorization struct {
	provider TokenProvider
	time     time.Duration
	// closed ends providers that run.
	closed context.Context
	close  context.CancelFunc

	mu        sync.Mutex
	header    string
	goodUntil time.Time
	static    bool
	asking    *askedToken
	// running counts providers.
	running int
}

// askedToken is a question to the provider, for all calls that need the answer.
type askedToken struct {
	// done is closed when header and err are valid.
	done   chan struct{}
	until  time.Time
	header string
	err    error
}

func newAuthorization(token string, provider TokenProvider) (*authorization, error) {
	if provider != nil {
		made := &authorization{provider: provider, time: tokenTime}
		made.closed, made.close = context.WithCancel(context.Background())
		return made, nil
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

// get is the header. It waits for the provider if the token has expired.
func (a *authorization) get(ctx context.Context) (string, error) {
	if ctx.Err() != nil {
		return "", ended(ctx)
	}
	a.mu.Lock()
	if a.static || a.header != "" && time.Now().Before(a.goodUntil) {
		defer a.mu.Unlock()
		return a.header, nil
	}
	if a.asking == nil || time.Now().After(a.asking.until) {
		if a.running >= maxAsked {
			a.mu.Unlock()
			return "", noToken(codes.Unavailable, "the token provider does not answer", nil)
		}
		a.ask(ctx)
	}
	asking := a.asking
	a.mu.Unlock()
	select {
	case <-asking.done:
		return asking.header, asking.err
	case <-ctx.Done():
		return "", ended(ctx)
	}
}

func noToken(code codes.Code, message string, cause error) error {
	return &Error{Code: code, Reason: reasonNoToken, Message: message, cause: cause}
}

// ask asks the provider. The lock is held.
func (a *authorization) ask(caller context.Context) {
	asking := &askedToken{done: make(chan struct{}), until: time.Now().Add(a.time)}
	a.asking = asking
	a.running++
	ctx, cancel := context.WithDeadline(context.WithoutCancel(caller), asking.until)
	go func() {
		defer cancel()
		defer context.AfterFunc(a.closed, cancel)()
		token, err := Token{}, errGoexit
		defer func() {
			if panicked := recover(); panicked != nil {
				err = newPanicError(panicked)
			}
			a.answered(asking, token, err)
		}()
		token, err = a.provider(ctx)
	}()
}

func (a *authorization) answered(asking *askedToken, token Token, err error) {
	asking.header, asking.err = "", err
	switch {
	case err == nil:
		if asking.header, err = bearer(token.Value); err != nil {
			asking.err = noToken(codes.Unavailable, "the token provider returned no token", err)
		}
	case !isOutage(err):
		// Without the stack of a panic, which the cause has.
		why, _, _ := strings.Cut(err.Error(), "\n")
		asking.err = noToken(codes.Unavailable, "the token provider failed: "+why, err)
	}
	life := defaultTokenLife
	if !token.ExpiresAt.IsZero() {
		life = time.Until(token.ExpiresAt)
	}
	a.mu.Lock()
	a.running--
	if a.asking == asking {
		a.asking = nil
	}
	if asking.err == nil {
		// A token of a short life is used for nine tenths of it.
		a.header = asking.header
		a.goodUntil = time.Now().Add(life - min(tokenMargin, life/10))
	}
	a.mu.Unlock()
	close(asking.done)
}

// refuse forgets a token that the server does not accept, unless there is another one by now.
func (a *authorization) refuse(header string) {
	if !a.renews() {
		return
	}
	a.mu.Lock()
	if a.header == header {
		a.goodUntil = time.Time{}
	}
	a.mu.Unlock()
}
